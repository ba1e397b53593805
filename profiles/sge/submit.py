#!/usr/bin/env python3
"""Hand a job of Snakemake's to SGE, and print its number. What this cluster calls things stands here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from snakemake.utils import read_job_properties

# The parallel environment of threads on one computer, and the complexes that ask for GPUs and for memory of each slot.
# Not h_vmem: it limits the address space, of which CUDA takes far more than memory.
THREADS, GPUS, MEMORY = "smp", "gpu", "mem_free"
# Queues and projects, as in ["-q", "gpu.q", "-P", "acoustics"].
ALWAYS: list[str] = []

LOGS = Path("logs/sge")

job = read_job_properties(sys.argv[1])
resources, threads = job["resources"], job.get("threads", 1)
limits = {"h_rt": 60 * resources["runtime"], MEMORY: f"{resources['mem_mb'] // threads}M"}
if resources.get("gpu"):
    limits[GPUS] = resources["gpu"]
LOGS.mkdir(parents=True, exist_ok=True)
asked = [option for name, amount in limits.items() for option in ("-l", f"{name}={amount}")]
command = ["qsub", "-terse", "-cwd", "-V", "-j", "y", "-o", str(LOGS), "-pe", THREADS, str(threads), *asked, *ALWAYS]
sys.exit(subprocess.run([*command, sys.argv[1]], check=False).returncode)
