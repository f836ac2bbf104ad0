#!/usr/bin/env bash
# Trains in several processes on this machine, each with simulated devices, as several hosts would:
#   launch/multiprocess.sh PROCESSES DEVICES_EACH CONFIG|RUN [options of jaxgan train]
#   launch/multiprocess.sh --dry-run 2 4 mnist_dcgan
# SIGTERM and SIGINT go on to all of them. Ends with the status of the first process that failed, or 75 where training
# was stopped before its end: then the same command goes on.
set -euo pipefail
dry=''
[ "${1-}" != --dry-run ] || { dry='echo'; shift; }
[ $# -ge 3 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }
processes=$1 devices=$2; shift 2
root=$(cd "$(dirname "$0")/.." && pwd)
port=$("$root/launch/local.sh" python -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')

children=()
trap 'kill -TERM "${children[@]}" 2>/dev/null || true' TERM INT
for ((i = 0; i < processes; i++)); do
  command=(env "JAX_NUM_CPU_DEVICES=$devices" JAX_PLATFORMS=cpu
    "JAX_COORDINATOR_ADDRESS=127.0.0.1:$port" "JAX_NUM_PROCESSES=$processes" "JAX_PROCESS_ID=$i"
    "$root/launch/local.sh" jaxgan train "$@" --distributed)
  if [ -n "$dry" ]; then echo "${command[*]}"; else "${command[@]}" & children+=($!); fi
done

status=0
for child in "${children[@]}"; do
  # A signal to this script interrupts `wait`, but not the child: wait again.
  while :; do
    wait "$child" && ended=0 || ended=$?
    kill -0 "$child" 2>/dev/null || break
  done
  [ "$status" -ne 0 ] || status=$ended
done
exit "$status"
