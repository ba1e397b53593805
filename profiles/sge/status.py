#!/usr/bin/env python3
"""Tell Snakemake how a job of SGE's fares: running, success or failed."""

from __future__ import annotations

import re
import subprocess
import sys
import time

# The books are kept a while after a job has ended.
TRIES, SECONDS = 12, 5.0


def asked(*command: str) -> str:
    """Return what a command prints; nothing where it knows no such job."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def status(job: str) -> str:
    """Return the state of a job: what no book knows either, a node took with it."""
    for _ in range(TRIES):
        if asked("qstat", "-j", job):
            return "running"
        if books := asked("qacct", "-j", job):
            ends = re.findall(r"^(?:failed|exit_status)\s+(\d+)", books, re.M)
            return "success" if ends and set(ends) == {"0"} else "failed"
        time.sleep(SECONDS)
    return "failed"


sys.stdout.write(f"{status(sys.argv[1])}\n")
