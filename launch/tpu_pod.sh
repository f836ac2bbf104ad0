#!/usr/bin/env bash
# Trains on a Cloud TPU: makes or reuses the slice, copies this checkout, installs, runs on all workers, starts again
# after a preemption, and deletes the slice at the end.
#   SHARED='sudo mount -t nfs 10.0.0.2:/runs /mnt/runs' \
#   launch/tpu_pod.sh NAME ZONE v5litepod-16 mnist_dcgan --out /mnt/runs/a [options of jaxgan train]
#   launch/tpu_pod.sh --dry-run NAME ZONE TYPE CONFIG
# SHARED is run on every worker and must make the directory of --out one and the same on all of them. SPOT=1 takes spot
# capacity, KEEP=1 keeps the slice, VERSION is the TPU software (tpu-ubuntu2204-base).
set -euo pipefail
dry=''
[ "${1-}" != --dry-run ] || { dry='echo'; shift; }
[ $# -ge 4 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
name=$1 zone=$2 type=$3; shift 3
root=$(cd "$(dirname "$0")/.." && pwd)
version=${VERSION:-tpu-ubuntu2204-base}
printf -v train '%q ' "$@"

tpu() { $dry gcloud compute tpus "$@" --zone="$zone"; }
everywhere() { tpu tpu-vm ssh "$name" --worker=all --command="$1"; }
state() {
  [ -z "$dry" ] || { echo DRY; return; }
  gcloud compute tpus queued-resources describe "$name" --zone="$zone" --format='value(state.state)' 2>/dev/null || echo NONE
}
delete() { tpu queued-resources delete "$name" --force --quiet; }

ready() { # Makes the slice if it is not there, and waits for it.
  while :; do
    case $(state) in
      ACTIVE) return ;;
      NONE | DRY)
        tpu queued-resources create "$name" --node-id="$name" --accelerator-type="$type" --runtime-version="$version" \
          ${SPOT:+--spot}
        [ -z "$dry" ] || return 0
        ;;
      FAILED | SUSPENDED | SUSPENDING) delete ;;
      *) sleep 30 ;;
    esac
  done
}

install() {
  tpu tpu-vm scp "$root" "$name:jaxgan" --recurse --worker=all
  everywhere "${SHARED:-true} && jaxgan/launch/local.sh true && jaxgan/.venv/bin/python -m pip install --quiet 'jax[tpu]'"
}

while :; do
  ready
  status=0
  { install && everywhere "jaxgan/launch/local.sh jaxgan train $train --distributed"; } || status=$?
  [ -z "$dry" ] || break
  # 75: stopped by SIGTERM, saved. Any other failure of a slice that is still there is not a preemption.
  [ "$status" -ne 0 ] || break
  [ "$status" -eq 75 ] || [ "$(state)" != ACTIVE ] || { echo "training failed (status $status); $name is kept" >&2; exit "$status"; }
done
[ -n "${KEEP-}" ] || delete
