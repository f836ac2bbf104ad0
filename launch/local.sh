#!/usr/bin/env bash
# Runs a command in the project's own environment, which it makes first where it is missing or out of date:
#   launch/local.sh jaxgan train mnist_dcgan
#   launch/local.sh pytest
# Needs Python 3.11 or newer and git. The environment is .venv in the checkout, with the exact versions of
# requirements.lock. PYTHON=python3.12 takes that Python, JAXGAN_VENV=DIR another place.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${JAXGAN_VENV:-$root/.venv}
[ $# -gt 0 ] || { sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2; }

# Of this checkout: an environment that another one has made would run that one's code.
wanted="$(cat "$root/pyproject.toml" "$root/requirements.lock" | cksum) $root"
version() { "$1" -c 'import sys; print(sys.version); sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }
if [ "$(cat "$venv/.installed" 2>/dev/null)" != "$wanted" ] ||
  { [ -n "${PYTHON:-}" ] && [ "$(version "$PYTHON")" != "$(version "$venv/bin/python")" ]; }; then
  python=
  # Tried, for a name may be found that does not run: a version manager's, of a version that is not there.
  for name in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}; do
    if version "$name" >/dev/null; then
      python=$name
      break
    fi
  done
  if [ -z "$python" ]; then
    echo "launch/local.sh: Python 3.11 or newer is needed; ${PYTHON:-what is on the path} is older, or does not run" >&2
    exit 2
  fi
  echo "setting up $venv (once, a minute or two) ..." >&2
  if [ -f "$venv/.installed" ] && [ "$(version "$python")" != "$(version "$venv/bin/python")" ]; then
    rm -rf "$venv" # It was made here, of another Python.
  fi
  "$python" -m venv "$venv"
  pip() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$root/requirements.lock" "$@"; }
  # uv installs in a fifth of the time. It does not read pip's settings, of another index say: where it fails, pip does it.
  pip uv
  if ! "$venv/bin/uv" pip install --quiet --python "$venv" --constraint "$root/requirements.lock" \
    --editable "${root}[dev]" 2>/dev/null; then
    pip --editable "${root}[dev]"
  fi
  echo "$wanted" >"$venv/.installed"
fi
# Tests and other tools of the checkout run from its root; jaxgan runs where you are.
[ "$1" = jaxgan ] || cd "$root"
PATH="$venv/bin:$PATH" exec "$@"
