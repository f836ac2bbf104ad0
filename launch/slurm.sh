#!/usr/bin/env bash
# Trains on Slurm, a task a GPU, on as many nodes as you ask for; on a shared file system:
#   sbatch --nodes=2 --gpus-per-node=8 --ntasks-per-node=8 launch/slurm.sh mnist_dcgan [options of jaxgan train]
#   launch/slurm.sh --dry-run mnist_dcgan
# Slurm sends SIGTERM two minutes before the time is up, or on preemption: all tasks save the same step and end, and the
# job puts itself back into the queue.
#SBATCH --job-name=jaxgan
#SBATCH --time=08:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=jaxgan-%j.log
set -euo pipefail
dry=''
[ "${1-}" != --dry-run ] || { dry='echo'; shift; }
[ $# -ge 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }
# Slurm runs a copy of this script: the checkout is where it was submitted.
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}"

$dry launch/local.sh true # Sets the environment up once, before the tasks want it.
status=0
$dry srun --kill-on-bad-exit=0 launch/local.sh jaxgan train "$@" --distributed || status=$?
if [ -n "$dry" ] || [ "$status" -eq 75 ]; then
  $dry scontrol requeue "${SLURM_JOB_ID:-JOB}"
else
  exit "$status"
fi
