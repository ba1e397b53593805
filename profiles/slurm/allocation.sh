#!/bin/bash
# The whole workflow inside one allocation of Slurm, for clusters that want no Snakemake on their login nodes, or no
# swarms of small jobs:
#
#     sbatch profiles/slurm/allocation.sh --configfile mine.yaml --config require_gpu=true
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

if ! command -v snakemake >/dev/null; then
    echo "offnote: there is no snakemake; submit from the checkout that has .venv, or with the environment active" >&2
    exit 127
fi

trap 'interrupted=yes; echo "out of time: once more into the queue"; scontrol requeue "$SLURM_JOB_ID"' USR1

# In MB, by node or by CPU as it was asked for; of --mem=0, the whole node's, Slurm says nothing.
memory=${SLURM_MEM_PER_NODE:-$((${SLURM_MEM_PER_CPU:-0} * SLURM_CPUS_ON_NODE))}
limits=("gpu=${SLURM_GPUS_ON_NODE:-0}" "downloads=2")
if [ "$memory" -gt 0 ]; then
    limits+=("mem_mb=$memory")
fi

snakemake --resources "${limits[@]}" --cores "$SLURM_CPUS_PER_TASK" "$@" &
workflow=$!
while true; do
    interrupted=
    wait "$workflow"
    status=$?
    # A trapped signal ends a wait, not the workflow; whoever has ended can be waited for again.
    [ -n "$interrupted" ] || break
done
exit "$status"
