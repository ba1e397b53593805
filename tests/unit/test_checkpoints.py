"""A fit goes on from its checkpoint as if it had never stopped."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from offnote import training
from offnote.checkpoints import Checkpoint
from offnote.config import Training
from offnote.cuda_graphs import Step

from tests.small import Killed, fit_small, noise, small_cache, small_model, small_network, small_training

MELS = 4
EPOCHS = 6
FILES = ("model.safetensors", "model.json", "loss.csv")
TRAINING = small_training(epochs=EPOCHS)


@pytest.fixture
def features(tmp_path: Path) -> Path:
    return small_cache(tmp_path / "fan" / "id_00.h5", noise([20] * 10, MELS))


def fit(
    features: Path, directory: Path, kept: Path | None, *, seed: int = 0, trial: int = 0, code: str = "", **changes: Any
) -> Checkpoint:
    return fit_small(
        [features],
        directory,
        model=small_model(initialisation="torch"),
        training=TRAINING.model_copy(update=changes),
        seed=seed,
        trial=trial,
        checkpoints=kept,
        checkpoint_seconds=0.0,
        code=code,
    )


def written(directory: Path) -> list[bytes]:
    return [(directory / name).read_bytes() for name in FILES]


def kill_in_epoch(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """End the process in that epoch, counted from 1; the list that is returned counts the epochs begun."""
    whole, begun = training._epoch, []

    def epoch(state: training.State, windows: training.WindowSource, settings: Training, take: Step) -> None:
        begun.append(len(state.history.loss) + 1)
        if begun[-1] == number:
            # Half an epoch is trained, and lost.
            next(iter(windows.batches(settings.batch_size, state.generator)))
            raise Killed
        whole(state, windows, settings, take)

    monkeypatch.setattr(training, "_epoch", epoch)
    return begun


SCHEDULES: dict[str, dict[str, Any]] = {
    "published": {"epochs": EPOCHS},
    "fast": {"epochs": 10 * EPOCHS, "schedule": "fast"},
}
"""Either makes so many passes."""


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("memory", [4096.0, 0.001], ids=["resident", "streamed"])
@pytest.mark.parametrize("number", [1, 2, EPOCHS])
def test_a_killed_fit_goes_on_and_ends_in_the_same_bytes(
    tmp_path: Path, features: Path, number: int, memory: float, schedule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"memory": memory, **SCHEDULES[schedule]}
    fit(features, tmp_path / "undisturbed", None, **changes)
    with monkeypatch.context() as patched:
        kill_in_epoch(patched, number)
        with pytest.raises(Killed):
            fit(features, tmp_path / "killed", tmp_path / "kept", **changes)
    assert not (tmp_path / "killed").exists()
    with monkeypatch.context() as patched:
        begun = kill_in_epoch(patched, 0)
        checkpoint = fit(features, tmp_path / "killed", tmp_path / "kept", **changes)
    assert begun == list(range(number, EPOCHS + 1))
    assert written(tmp_path / "killed") == written(tmp_path / "undisturbed")
    checkpoint.discard()
    assert list((tmp_path / "kept").iterdir()) == []


def test_no_half_written_checkpoint_takes_the_place_of_the_last(
    tmp_path: Path, features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, bytes] = {}

    def replace_once(temporary: Path, path: Path) -> None:
        if kept:
            raise Killed
        temporary.rename(path)
        kept[path.name] = path.read_bytes()

    monkeypatch.setattr(Path, "replace", replace_once)
    with pytest.raises(Killed):
        fit(features, tmp_path / "killed", tmp_path / "kept")
    assert {path.name: path.read_bytes() for path in (tmp_path / "kept").rglob("*.*")} == kept


def test_a_finished_fit_is_not_done_again_before_its_checkpoint_is_discarded(
    tmp_path: Path, features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(features, tmp_path / "first", tmp_path / "kept")
    begun = kill_in_epoch(monkeypatch, 0)
    fit(features, tmp_path / "second", tmp_path / "kept")
    assert begun == []
    assert written(tmp_path / "second") == written(tmp_path / "first")


@pytest.mark.parametrize(
    "change",
    [
        *({"learning_rate": 0.3}, {"validation": 0.3}, {"epochs": EPOCHS + 1}, {"schedule": "fast"}),
        *({"seed": 1}, {"trial": 1}, {"code": "new"}),
    ],
    ids=str,
)
def test_another_fit_does_not_take_it(
    tmp_path: Path, features: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(features, tmp_path / "first", tmp_path / "kept")
    begun = kill_in_epoch(monkeypatch, 0)
    fit(features, tmp_path / "second", tmp_path / "kept", **change)
    assert begun[0] == 1


def test_a_fit_on_other_features_does_not_take_it(
    tmp_path: Path, features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(features, tmp_path / "first", tmp_path / "kept")
    features.touch()
    begun = kill_in_epoch(monkeypatch, 0)
    fit(features, tmp_path / "second", tmp_path / "kept")
    assert len(begun) == EPOCHS


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-50],
        lambda content: content[:-1] + b"\x7f",
        lambda content: content.replace(b'"steps":"', b'"steps":"1', 1)[: len(content)],
        lambda content: content.replace(b'loss\\"', b'lost\\"', 1),
    ],
)
def test_a_damaged_checkpoint_is_no_loss_but_time(
    tmp_path: Path, features: Path, damage: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fit(features, tmp_path / "first", tmp_path / "kept")
    [kept] = (tmp_path / "kept").glob("*/state.safetensors")
    kept.write_bytes(damage(kept.read_bytes()))
    begun = kill_in_epoch(monkeypatch, 0)
    fit(features, tmp_path / "second", tmp_path / "kept")
    assert len(begun) == EPOCHS
    assert "training starts anew" in caplog.text
    assert written(tmp_path / "second") == written(tmp_path / "first")


def test_it_is_written_only_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([0.0, 59.0, 61.0, 120.0, 122.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(seconds))
    checkpoint = Checkpoint(tmp_path / "state.safetensors", 60.0)
    state = training.start(small_network(2), TRAINING, torch.Generator())
    written = []
    for _ in range(4):
        checkpoint.keep(state)
        written.append((tmp_path / "state.safetensors").exists())
        (tmp_path / "state.safetensors").unlink(missing_ok=True)
    assert written == [False, True, False, True]
