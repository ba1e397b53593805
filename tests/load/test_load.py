"""As many clips and machines as DCASE 2020 has: 31,000 and 41, from recordings to tables, in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.workflow.runs import Workflow

CLIPS = int(os.environ.get("CLIPS", "31160"))
MACHINES = 41

MOST_MEBIBYTES = {"features": 900, "train": 900, "score": 900, "figures": 260, "evaluate": 220, "snakemake": 500}
"""Resident memory that a job of each stage, and Snakemake itself, may take. PyTorch alone takes some 300."""


def settings() -> dict[str, Any]:
    """Return the configuration of short clips in the shape of 2020: 560 of 760 for training, as there."""
    each = CLIPS // MACHINES
    test = each * 200 // 760 // 2
    return {
        "run": "load",
        "demo": {"year": 2020, "train": each - 2 * test, "test_normal": test, "test_anomaly": test, "duration": 1.0},
        "training": {"epochs": 1},
        "evaluate": {"resamples": 100},
        "jobs": {"machines": 6},
    }


def run(folder: Path) -> tuple[str, float, float]:
    """Run the Snakefile; return what it printed, its seconds, and the most MiB that Snakemake itself took."""
    command = Workflow(folder).command(settings())
    peak, started = 0, time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            try:
                peak = max(peak, psutil.Process(process.pid).memory_info().rss)
            except psutil.NoSuchProcess:
                return
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    screen = process.communicate()[0]
    watcher.join()
    assert process.returncode == 0, screen
    return screen, time.monotonic() - started, peak / 2**20


def test_the_size_of_dcase_2020_goes_through_in_little_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flow = Workflow(tmp_path)
    _, seconds, snakemake = run(tmp_path)
    peaks = {"snakemake": snakemake}
    for path in (tmp_path / "logs").rglob("*.benchmark.jsonl"):
        stage = path.relative_to(tmp_path / "logs").parts[0]
        measured = [json.loads(line)["max_rss"] for line in path.read_text(encoding="utf-8").splitlines()]
        # Of a job that took no time nothing is measured.
        peaks[stage] = max(peaks.get(stage, 0.0), *(value for value in measured if isinstance(value, float | int)))
    again, seconds_again, _ = run(tmp_path)
    with capsys.disabled():
        told = ", ".join(f"{stage} {peak:.0f} MiB" for stage, peak in sorted(peaks.items()))
        sys.stdout.write(f"\n{seconds:.0f} s, again {seconds_again:.1f} s; at most: {told}\n")
    listed = (tmp_path / "results/cache/clips/demo.tsv").read_text(encoding="utf-8")
    assert len(listed.splitlines()) - 1 == MACHINES * (CLIPS // MACHINES)
    assert len(flow.files("load/scores/*/*/trial_0.csv")) == MACHINES
    assert len(flow.rows("load/tables/clips.csv")) == MACHINES * 2 * (CLIPS // MACHINES * 200 // 760 // 2)
    assert "Nothing to be done" in again
    for stage, most in MOST_MEBIBYTES.items():
        assert peaks[stage] < most, (stage, peaks[stage])
