"""The real Snakefile, run on small data in a folder of its own."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from offnote.config import ROOT

QUICK: dict[str, Any] = {"training": {"epochs": 2, "validation": 0.25}, "evaluate": {"resamples": 50}}
TINY_DEMO = QUICK | {
    "dataset": {"machines": ["rotor/id_00", "valve/*"]},
    "demo": {"train": 8, "test_normal": 4, "test_anomaly": 4, "duration": 2.0},
}


def write_default_configuration(folder: Path) -> None:
    """Write the ``config/config.yaml`` of a folder where there is none.

    Else that of the checkout would count, which whoever runs the tests may have made their own.
    """
    path = folder / "config/config.yaml"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text("run: demo\n", encoding="utf-8")


def copy_code(folder: Path) -> Path:
    """Copy what the workflow is made of to a folder, and return it."""
    for name in ("workflow", "config", "envs", "profiles"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "Snakefile", folder)
    (folder / "config/config.yaml").write_text("run: demo\n", encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Workflow:
    """A working directory of Snakemake, and the code that it runs."""

    folder: Path
    code: Path = ROOT

    def command(self, config: dict[str, Any], *options: str, cores: int = 2) -> list[str]:
        """Write `config` as an overlay, and return the command that runs the Snakefile with it."""
        overlay = self.folder / "overlay.yaml"
        overlay.write_text(yaml.safe_dump(config), encoding="utf-8")
        write_default_configuration(self.folder)
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(self.code / "Snakefile")]
        command += ["--cores", str(cores), "--directory", str(self.folder), "--configfile", str(overlay)]
        return [*command, *options]

    def run(self, config: dict[str, Any], *options: str, cores: int = 2) -> subprocess.CompletedProcess[str]:
        """Run the Snakefile as a user would, with `config` as an overlay."""
        command = self.command(config, *options, cores=cores)
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
        found = (path for path in sorted(results.glob(pattern)) if path.is_file())
        return {str(path.relative_to(results)): path.read_bytes() for path in found}

    def rows(self, path: str) -> list[dict[str, str]]:
        """Read a CSV file below the results."""
        with (self.folder / "results" / path).open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
