#!/bin/bash
# The whole workflow inside one allocation of Slurm, for clusters that want no Snakemake on their login nodes, or no
# swarms of small jobs:
#
#     sbatch profiles/slurm/allocation.sh --configfile mine.yaml
#
# What follows the script's name goes to snakemake. More of the cluster: sbatch --cpus-per-task=32 --gpus=4 --mem=64G …
# Killed, requeued or out of time, it goes on where it was: the last lets Slurm put it into the queue again by itself.
#SBATCH --job-name=offnote
#SBATCH --output=offnote-%j.log
#SBATCH --open-mode=append
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus=1
#SBATCH --mem=32G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
set -uo pipefail

if [ -f .venv/bin/activate ]; then
    source .venv/bin/activate
fi

trap 'echo "out of time: once more into the queue"; scontrol requeue "$SLURM_JOB_ID"' USR1

snakemake --cores "$SLURM_CPUS_PER_TASK" \
    --resources "gpu=${SLURM_GPUS_ON_NODE:-0}" "mem_mb=${SLURM_MEM_PER_NODE:-32768}" "downloads=2" \
    "$@" &
workflow=$!
# A trapped signal ends a wait, not the workflow.
while kill -0 "$workflow" 2>/dev/null; do
    wait "$workflow"
    status=$?
done
exit "$status"
