"""kill -9 of a worker, and of Snakemake itself: the same command carries on, to the same bytes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from ..workflow.conftest import ROOT, TINY_DEMO, Workflow

CONFIG: dict[str, Any] = TINY_DEMO | {
    "dataset": {"machines": ["rotor/*"]},
    "training": {"epochs": 200, "validation": 0.25},
    "jobs": {"checkpoint_seconds": 0},
}
PATIENCE = 120.0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    finished = Workflow(tmp_path_factory.mktemp("undisturbed"))
    finished.finish(CONFIG)
    return finished


@pytest.fixture
def started(tmp_path: Path) -> subprocess.Popen[bytes]:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    command += ["--directory", str(tmp_path), "--configfile", str(overlay)]
    with (tmp_path / "screen.txt").open("wb") as screen:
        return subprocess.Popen(command, stdout=screen, stderr=screen)


def wait_for(found: Callable[[], Any], what: str) -> Any:
    """Return what `found` finds as soon as it finds something."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(0.05)
    pytest.fail(f"waited {PATIENCE:.0f} s for {what}")


def worker(snakemake: subprocess.Popen[bytes], stage: str) -> psutil.Process:
    """Wait for a job of a stage, and return its process."""

    def found() -> list[psutil.Process]:
        workers = psutil.Process(snakemake.pid).children(recursive=True)
        return [process for process in workers if any(f".{stage}.py" in part for part in process.cmdline())]

    process: psutil.Process = wait_for(found, f"a job of {stage}")[0]
    return process


def kill_worker(snakemake: subprocess.Popen[bytes], stage: str) -> None:
    worker(snakemake, stage).kill()
    assert snakemake.wait() == 1


def kill_snakemake(snakemake: subprocess.Popen[bytes], stage: str) -> None:
    """Kill Snakemake alone: its workers are left without it, and end by themselves."""
    worker(snakemake, stage)
    workers = psutil.Process(snakemake.pid).children(recursive=True)
    snakemake.kill()
    assert snakemake.wait() == -signal.SIGKILL
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


def kill_all(snakemake: subprocess.Popen[bytes], stage: str) -> None:
    """Kill Snakemake and its workers at once, as when the power fails."""
    worker(snakemake, stage)
    workers = psutil.Process(snakemake.pid).children(recursive=True)
    snakemake.kill()
    for process in workers:
        process.kill()
    assert snakemake.wait() == -signal.SIGKILL


def in_training(folder: Path) -> Callable[[], bool]:
    return lambda: any((folder / "results/cache/checkpoints").glob("*/state.safetensors"))


@pytest.mark.parametrize("stage", ["features", "train"])
@pytest.mark.parametrize("kill", [kill_worker, kill_snakemake, kill_all])
def test_after_a_kill_the_same_command_carries_on_to_the_same_scores(
    undisturbed: Workflow,
    started: subprocess.Popen[bytes],
    tmp_path: Path,
    kill: Callable[[subprocess.Popen[bytes], str], None],
    stage: str,
) -> None:
    if stage == "train":
        wait_for(in_training(tmp_path), "the first checkpoint")
    wait_for(lambda: any(path.stat().st_size for path in (tmp_path / "logs" / stage).rglob("*.log")), "a job's log")
    kill(started, stage)
    if kill is kill_worker:
        screen = (tmp_path / "screen.txt").read_text(encoding="utf-8")
        assert f"{'training' if stage == 'train' else 'features'} of rotor/id_0" in screen
        assert "killed, by hand or for want of memory" in screen
    flow = Workflow(tmp_path)
    (tmp_path / "results/cache/.left.abcdefgh.part.h5").touch()
    flow.finish(CONFIG)
    for pattern in ("cache/features/*/*/*/*", "demo/models/*/*/*/*", "demo/scores/*/*/*", "demo/tables/*"):
        assert flow.files(pattern) == undisturbed.files(pattern)
    assert not list((tmp_path / "results").rglob(".*"))
    assert not list((tmp_path / "results/cache/checkpoints").glob("*"))
    assert flow.planned(CONFIG) == {}
    if stage == "train":
        logs = [path.read_text() for path in (tmp_path / "logs/train").rglob("*.log")]
        assert any("training goes on after epoch" in text for text in logs)


def test_after_a_kill_another_configuration_has_its_own_models(
    started: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    wait_for(in_training(tmp_path), "the first checkpoint")
    worker(started, "train")
    started.kill()
    started.wait()
    flow = Workflow(tmp_path)
    flow.finish(CONFIG | {"seed": 1, "training": CONFIG["training"] | {"epochs": 2}})
    time.sleep(10)
    for card in (tmp_path / "results/demo/models").glob("rotor/*/trial_0/model.json"):
        found = json.loads(card.read_text(encoding="utf-8"))
        assert (found["seed"], found["training"]["epochs"]) == (1, 2)


def test_two_at_once_in_one_folder_are_refused(started: subprocess.Popen[bytes], tmp_path: Path) -> None:
    wait_for(in_training(tmp_path), "the first checkpoint")
    second = Workflow(tmp_path).run(CONFIG)
    assert second.returncode == 1
    assert "another snakemake is at work in" in second.stdout + second.stderr
    assert started.wait() == 0
