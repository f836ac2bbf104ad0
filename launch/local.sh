#!/usr/bin/env bash
# Runs a command in the project's own environment, which it makes first where it is missing or out of date:
#   launch/local.sh jaxgan train mnist_dcgan
#   launch/local.sh pytest
# Needs Python 3.11 or newer and git; uses uv where it is there. The environment is .venv in the checkout (another with
# JAXGAN_VENV=DIR), with the exact versions of requirements.lock.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${JAXGAN_VENV:-$root/.venv}
[ $# -gt 0 ] || { sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 2; }

wanted=$(cat "$root/pyproject.toml" "$root/requirements.lock" | cksum)
if [ "$(cat "$venv/.installed" 2>/dev/null)" != "$wanted" ]; then
  python=
  for name in python3.11 python3.12 python3.13 python3 python; do
    if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      python=$name
      break
    fi
  done
  [ -n "$python" ] || { echo "launch/local.sh: Python 3.11 or newer is needed and was not found" >&2; exit 2; }
  echo "setting up $venv (once, a minute or two) ..." >&2
  if command -v uv >/dev/null; then
    uv venv --quiet --allow-existing --python "$python" "$venv"
    uv pip install --quiet --python "$venv" --constraint "$root/requirements.lock" --editable "${root}[dev]"
  else
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
      --constraint "$root/requirements.lock" --editable "${root}[dev]"
  fi
  echo "$wanted" >"$venv/.installed"
fi
# Tests and other tools of the checkout run from its root; jaxgan runs where you are.
[ "$1" = jaxgan ] || cd "$root"
PATH="$venv/bin:$PATH" exec "$@"
