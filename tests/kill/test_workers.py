"""kill -9 at twenty moments of a job: nothing half-written counts, and what comes out in the end is the same."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from offnote import cache
from offnote.config import Demo
from offnote.files import clear_leftovers
from offnote.synthesis import synthesise_machine
from safetensors import safe_open

MOMENTS = 20
EPOCHS = 60
DEMO = Demo(train=12, test_normal=4, test_anomaly=4, duration=2.0)

# Kills itself at the given call of a function, or says how many there were: so the moments are spread over all that the
# job does, and the same in every run of the test.
JOB = """
import os, signal, sys
from pathlib import Path
from offnote.clips import Entry
from offnote.config import load_preset, Audio, Features, Gate, Model, Slice, Training, Window
from offnote.detectors import fit_scope
from offnote.features import extract

stage, folder, moment = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
preset = load_preset("mimii")
calls = 0

def count(frame, event, argument):
    global calls
    if event in ("call", "c_call"):
        calls += 1
        if calls == moment:
            os.kill(os.getpid(), signal.SIGKILL)

def features():
    entries = [Entry(str(path.relative_to(folder)), path.parent.name) for path in sorted(folder.rglob("*.wav"))]
    extract(entries, folder, folder / "rotor" / "id_00.h5", audio=Audio(**preset["audio"]), slicing=Slice(),
            gate=Gate(), features=Features(**preset["features"]), device="cpu", require_gpu=False, threads=1)

def train():
    training = Training(**preset["training"] | {"epochs": int(sys.argv[4])})
    fit_scope([folder / "rotor" / "id_00.h5"], folder / "model", window=Window(**preset["window"]),
              model=Model(**preset["model"]), training=training, seed=0, trial=0, scope="rotor/id_00", device="cpu",
              require_gpu=False, checkpoints=folder / "checkpoints", checkpoint_seconds=0)

print("begun", flush=True)
if moment >= 0:
    sys.setprofile(count)
{"features": features, "train": train}[stage]()
sys.setprofile(None)
print(calls)
"""


def job(stage: str, folder: Path, moment: int = 0, epochs: int = EPOCHS) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(stage, folder, moment, epochs), capture_output=True, text=True, check=False)


def command(stage: str, folder: Path, moment: int, epochs: int = EPOCHS) -> list[str]:
    return [sys.executable, "-c", JOB, stage, str(folder), str(moment), str(epochs)]


def killed_by_the_clock(folder: Path, seconds: float) -> float:
    """Kill a feature job so many seconds after it has begun, inside a library or not; return how long it lived."""
    with subprocess.Popen(command("features", folder, moment=-1), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        begun = time.monotonic()
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        process.wait()
        return time.monotonic() - begun


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """Return a folder with recordings, features and a model, and how many calls each job made.

    ``short`` is a training of a third of the epochs: from the two follows what an epoch takes, and what goes before.
    """
    folder = tmp_path_factory.mktemp("undisturbed")
    synthesise_machine("rotor", "id_00", folder, DEMO)
    calls = {}
    for name, stage, epochs in [
        ("features", "features", 0),
        ("short", "train", EPOCHS // 3),
        ("train", "train", EPOCHS),
    ]:
        done = job(stage, folder, epochs=epochs)
        assert done.returncode == 0, done.stderr
        calls[name] = int(done.stdout.split()[-1])
    return folder, calls


def test_a_killed_feature_job_leaves_no_cache_or_a_whole_one(
    undisturbed: tuple[Path, dict[str, int]], tmp_path: Path
) -> None:
    whole, calls = undisturbed
    expected = (whole / "rotor/id_00.h5").read_bytes()
    synthesise_machine("rotor", "id_00", tmp_path, DEMO)
    path = tmp_path / "rotor/id_00.h5"
    leftovers = 0
    for number in range(MOMENTS):
        moment = 1 + (2 * number + 1) * calls["features"] // (2 * MOMENTS)
        assert job("features", tmp_path, moment).returncode == -signal.SIGKILL
        if path.exists():
            assert path.read_bytes() == expected
            path.unlink()
        leftovers += len(clear_leftovers(tmp_path))
        assert {found.suffix for found in tmp_path.rglob("*") if found.is_file()} == {".wav"}
    assert leftovers > 0
    assert job("features", tmp_path).returncode == 0
    assert path.read_bytes() == expected
    cache.read(path).close()


def test_a_feature_job_killed_by_the_clock_leaves_no_cache_or_a_whole_one(
    undisturbed: tuple[Path, dict[str, int]], tmp_path: Path
) -> None:
    whole, _ = undisturbed
    synthesise_machine("rotor", "id_00", tmp_path, DEMO)
    path = tmp_path / "rotor/id_00.h5"
    duration = killed_by_the_clock(tmp_path, 60.0)
    assert path.exists()
    unfinished = 0
    for number in range(MOMENTS):
        path.unlink(missing_ok=True)
        killed_by_the_clock(tmp_path, (number + 0.5) / MOMENTS * duration)
        unfinished += not path.exists()
        assert not path.exists() or path.read_bytes() == (whole / "rotor/id_00.h5").read_bytes()
    assert unfinished > 0


def test_a_training_job_killed_again_and_again_ends_in_the_same_model(
    undisturbed: tuple[Path, dict[str, int]], tmp_path: Path
) -> None:
    whole, calls = undisturbed
    (tmp_path / "rotor").mkdir()
    (tmp_path / "rotor/id_00.h5").write_bytes((whole / "rotor/id_00.h5").read_bytes())
    epoch = (calls["train"] - calls["short"]) / (EPOCHS - EPOCHS // 3)
    start = calls["train"] - round(EPOCHS * epoch)
    # Three times before the first epoch, then after half an epoch to three: each job gets further than the one before.
    moments = [start * quarter // 4 for quarter in (1, 2, 3)]
    moments += [start + round(epoch * (0.5 + 2.5 * (7 * number % 17) / 17)) for number in range(MOMENTS - len(moments))]
    for moment in moments:
        assert job("train", tmp_path, moment).returncode == -signal.SIGKILL
        assert not (tmp_path / "model").exists()
    [checkpoint] = (tmp_path / "checkpoints").glob("*/state.safetensors")
    with safe_open(checkpoint, framework="pt") as file:
        epochs = len(json.loads(file.metadata()["history"])["loss"])
    assert EPOCHS / 4 < epochs < EPOCHS
    clear_leftovers(tmp_path)
    assert job("train", tmp_path).returncode == 0
    for name in ("model.safetensors", "model.json", "loss.csv"):
        assert (tmp_path / "model" / name).read_bytes() == (whole / "model" / name).read_bytes()
