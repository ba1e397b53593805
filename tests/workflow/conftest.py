"""The real Snakefile, run on small data in a folder of its own."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]

TINY_DEMO: dict[str, Any] = {
    "dataset": {"machines": ["rotor/id_00", "valve/*"]},
    "demo": {"train": 8, "test_normal": 4, "test_anomaly": 4, "duration": 2.0},
    "training": {"epochs": 2, "validation": 0.25},
    "evaluate": {"resamples": 50},
}


@dataclass(frozen=True)
class Workflow:
    """A working directory of Snakemake, and the code that it runs."""

    folder: Path
    code: Path = ROOT

    def run(self, config: dict[str, Any], *options: str, cores: int = 2) -> subprocess.CompletedProcess[str]:
        """Run the Snakefile as a user would, with `config` as an overlay."""
        overlay = self.folder / "overlay.yaml"
        overlay.write_text(yaml.safe_dump(config), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(self.code / "Snakefile")]
        command += ["--cores", str(cores), "--directory", str(self.folder), "--configfile", str(overlay), *options]
        environment = os.environ | {"PYTHONPATH": str(self.code / "workflow/scripts")}
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)

    def finish(self, config: dict[str, Any], *options: str, cores: int = 2) -> str:
        """Run the Snakefile, expect that it succeeds, and return what it printed."""
        done = self.run(config, *options, cores=cores)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def planned(self, config: dict[str, Any], *options: str) -> dict[str, int]:
        """Return how many jobs of each rule would run."""
        output = self.finish(config, "--dry-run", *options)
        return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", output, re.M) if rule != "total"}

    def files(self, pattern: str) -> dict[str, bytes]:
        """Return the content of the results that match a pattern, by path."""
        results = self.folder / "results"
        return {str(path.relative_to(results)): path.read_bytes() for path in sorted(results.glob(pattern))}

    def rows(self, path: str) -> list[dict[str, str]]:
        """Read a CSV file below the results."""
        with (self.folder / "results" / path).open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    return Workflow(tmp_path)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """Return a folder with a finished run of a tiny demo set. Tests may add runs to it but not change this one."""
    finished = Workflow(tmp_path_factory.mktemp("demo"))
    finished.finish(TINY_DEMO)
    return finished
