"""The script of one allocation, with a `snakemake` and an `scontrol` that only tell what they were asked."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from offnote.config import ROOT

SCRIPT = str(ROOT / "profiles/slurm/allocation.sh")
BASH = shutil.which("bash") or "bash"
ASKED = {"SLURM_CPUS_PER_TASK": "2", "SLURM_CPUS_ON_NODE": "2", "SLURM_JOB_ID": "7"}


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def start(folder: Path, *options: str, **allocated: str) -> subprocess.Popen[str]:
    """Start the script in a folder without .venv, as Slurm would, with the programs of the folder."""
    environment = {"PATH": str(folder)} | ASKED | allocated
    return subprocess.Popen(
        [BASH, SCRIPT, *options],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.parametrize(
    ("allocated", "limits"),
    [
        ({"SLURM_MEM_PER_NODE": "6144", "SLURM_GPUS_ON_NODE": "1"}, "gpu=1 downloads=2 mem_mb=6144"),
        ({"SLURM_MEM_PER_CPU": "1024"}, "gpu=0 downloads=2 mem_mb=2048"),
        ({}, "gpu=0 downloads=2"),
    ],
)
def test_snakemake_is_told_what_the_allocation_has(tmp_path: Path, allocated: dict[str, str], limits: str) -> None:
    program(tmp_path, "snakemake", 'echo "$@"; exit 3')
    with start(tmp_path, "submission", "--config", "seed=1", **allocated) as job:
        said, _ = job.communicate(timeout=60)
    assert (said, job.returncode) == (f"--resources {limits} --cores 2 submission --config seed=1\n", 3)


def test_without_snakemake_it_ends_in_a_sentence(tmp_path: Path) -> None:
    with start(tmp_path) as job:
        said, _ = job.communicate(timeout=60)
    assert said.startswith("offnote: there is no snakemake; submit from the checkout that has .venv")
    assert job.returncode == 127


def test_a_signal_puts_it_into_the_queue_and_ends_no_work(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go on")
    program(tmp_path, "snakemake", 'echo started; read -r < "go on"; echo finished; exit 5')
    program(tmp_path, "scontrol", 'echo "$@"; echo > "go on"')
    with start(tmp_path) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "started\n"
        job.send_signal(signal.SIGUSR1)
        said, _ = job.communicate(timeout=60)
    assert "out of time: once more into the queue\nrequeue 7\n" in said
    assert said.endswith("finished\n")
    assert job.returncode == 5
