"""Starting the two sides as processes of their own, on the same cores, and timing them from outside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from offnote.config import ROOT
from offnote.errors import InputError

from benchmarks.clips import Recordings

OPPONENT = ROOT / ".venv-bench" / "bin" / "python"


@dataclass(frozen=True)
class Bench:
    """Where measurements are made, and on what.

    Attributes
    ----------
    folder : Path
        Holds generated clips, and what both sides write.
    cores : int
        Cores that a side may use.
    repetitions : int
        How often each side is measured.
    full : bool
        Whether the sets have their full size.
    """

    folder: Path
    cores: int
    repetitions: int
    full: bool

    @property
    def clips(self) -> Path:
        """Folder of the generated sets."""
        return self.folder / "clips"

    def fresh(self, name: str) -> Path:
        """Return an empty folder to work in."""
        folder = self.folder / "work" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def workflow(
        self, folder: Path, recordings: Recordings, settings: Mapping[str, Any], cores: int | None = None
    ) -> float:
        """Run the real Snakefile on a generated set, and return the seconds from its start to its end."""
        dataset = {"name": "bench", "path": str(recordings.sheet)}
        return self.snakemake(folder, {"run": "bench", "dataset": dataset, **settings}, cores)

    def snakemake(self, folder: Path, config: Mapping[str, Any], cores: int | None = None) -> float:
        """Run the real Snakefile in `folder`, and return the seconds from its start to its end."""
        overlay = folder / "overlay.yaml"
        overlay.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")]
        command += ["--directory", str(folder), "--configfile", str(overlay), "--cores", str(cores or self.cores)]
        seconds, _ = self._run(command, folder)
        return seconds

    def offnote(self, what: str, recordings: Recordings, *options: str) -> dict[str, float]:
        """Let :mod:`benchmarks.stages` measure one stage of offnote in a process of its own."""
        command = [sys.executable, "-m", "benchmarks.stages", what, str(recordings.sheet), *options]
        _, printed = self._run(command, self.folder)
        return _last_line(printed)

    def opponent(self, what: str, recordings: Recordings, *options: str) -> dict[str, float]:
        """Let the opponent measure the same."""
        _, printed = self._run(_opponent(what, recordings, options), self.folder)
        return _last_line(printed)

    def opponents_job(self, folder: Path, recordings: Recordings, epochs: int) -> float:
        """Let the opponent do the whole job, and return the seconds from its start to its end."""
        options = ["--epochs", str(epochs), "--output", str(folder)]
        seconds, _ = self._run(_opponent("job", recordings, options), folder)
        return seconds

    def _run(self, command: Sequence[str], folder: Path) -> tuple[float, str]:
        """Run a command, and return its seconds and what it printed.

        Raises
        ------
        InputError
            It failed.
        """
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "benchmark.log"
        with log.open("w", encoding="utf-8") as errors:
            started = time.perf_counter()
            done = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, check=False, env=_environment(), cwd=ROOT
            )
            seconds = time.perf_counter() - started
        if done.returncode:
            raise InputError(f"{' '.join(command[:4])} … failed; {log} says why")
        return seconds, done.stdout


def limited_to(cores: int) -> None:
    """Let this process, and all that it starts, run on so many cores only.

    Raises
    ------
    InputError
        There are not so many.
    """
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < cores:
        raise InputError(f"--cores {cores}: only {len(allowed)} cores are here")
    os.sched_setaffinity(0, allowed[:cores])


def _environment() -> dict[str, str]:
    """Return this process's variables, but for what a shell may have set for other work."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_"))}
    package = str(ROOT / "workflow" / "scripts")
    return environment | {"PYTHONPATH": package, "TF_CPP_MIN_LOG_LEVEL": "3"}


def _opponent(what: str, recordings: Recordings, options: Sequence[str]) -> list[str]:
    if not OPPONENT.exists():
        raise InputError(f"{OPPONENT.parents[1]}: the opponent's environment is not there; `make bench` makes it")
    return [str(OPPONENT), str(ROOT / "benchmarks" / "opponent.py"), what, str(recordings.paths), *options]


def _last_line(printed: str) -> dict[str, float]:
    measured: dict[str, float] = json.loads(printed.splitlines()[-1])
    return measured
