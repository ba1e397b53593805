"""The way from recordings to scores away from the CPU: on a pretend accelerator everywhere, on CUDA where there is one.

The pretend one computes on the CPU, so its results must be the CPU's bit for bit, and a tensor that was left behind on
the CPU is an error as on a GPU. CUDA's results have other last digits, and must be the same at every run.
"""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from offnote import cache, config, detectors, features, scores, scoring, training
from offnote.checkpoints import Checkpoint
from offnote.clips import Entry
from torch import Tensor

from tests.accelerator import pretend_accelerator
from tests.small import Killed, fit_small, small_model, small_training

RATE = 16000
FEATURES = config.Features(**config.load_preset("mimii")["features"] | {"n_mels": 32, "padding": "zeros"})
TRAINING = small_training(batch_size=32, validation=0.25)
STREAMED = 0.02
"""MiB of features on the device: less than the clips here have."""

# How far another order of additions moves what comes out: on the CPU, whose blocks are smaller; on CUDA; relative.
CPU_DECIBELS = 1e-5
CUDA_DECIBELS = 2e-4
CUDA_SCORES = 1e-3


@dataclass(frozen=True)
class Accelerator:
    """A device that is not the CPU, and whether its results are the CPU's to the bit."""

    device: torch.device
    exact: bool


@pytest.fixture(params=["pretend", "cuda"])
def accelerator(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Accelerator]:
    """Give the device that the package chooses for ``cuda`` in this test; for ``cpu`` it still chooses the CPU."""
    if request.param == "pretend":
        with pretend_accelerator() as device:
            for module in (features, detectors, scoring):
                monkeypatch.setattr(module, "choose", lambda name, _: torch.device("cpu") if name == "cpu" else device)
            yield Accelerator(device, exact=True)
        return
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA GPU here; the pretend accelerator stands in for it")
    # A GPU that is named is not waited for, whatever else works on it.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", "0"))
    yield Accelerator(torch.device("cuda", 0), exact=False)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Entry]]:
    """Make recordings of a humming machine in three lengths, the longest of more frames than the CPU takes at once."""
    root = tmp_path_factory.mktemp("recordings")
    entries = [Entry(f"{number}.wav", "train" if number < 9 else "test") for number in range(12)]
    for number, entry in enumerate(entries):
        samples = RATE * (6 if number == 4 else 1) + (333 if number in (7, 8) else 0)
        hum = 0.3 * np.sin(2 * np.pi * (50 + number) * np.arange(samples) / RATE)
        noise = 0.01 * np.random.default_rng(number).standard_normal(samples)
        soundfile.write(root / entry.path, hum + noise, RATE, subtype="FLOAT")
    return root, entries


def extract(recordings: tuple[Path, list[Entry]], output: Path, device: str) -> Path:
    root, entries = recordings
    features.extract(
        entries,
        root,
        output,
        audio=config.Audio(sample_rate=RATE, channel=0),
        slicing=config.Slice(),
        gate=config.Gate(),
        features=FEATURES,
        device=device,
        require_gpu=False,
        threads=2,
    )
    return output


def fit(
    made: Path,
    directory: Path,
    device: str,
    batch_norm: bool = True,
    kept: Path | None = None,
    **training_settings: Any,
) -> Path:
    fit_small(
        [made],
        directory,
        window=config.Window(frames=5),
        model=small_model(hidden=[16, 4, 16], batch_norm=batch_norm),
        training=TRAINING.model_copy(update=training_settings),
        device=device,
        checkpoints=kept,
    )
    return directory


def score(made: Path, model: Path, output: Path, device: str) -> Path:
    scoring.score_machine(
        made,
        model,
        output,
        quantiles=[0.9],
        threads=1,
        device=device,
        require_gpu=False,
    )
    return output


@pytest.fixture(scope="module")
def on_cpu(recordings: tuple[Path, list[Entry]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a feature cache, a model and scores, all made on the CPU."""
    folder = tmp_path_factory.mktemp("cpu")
    made = extract(recordings, folder / "fan" / "id_00.h5", "cpu")
    score(made, fit(made, folder / "model", "cpu"), folder / "scores.csv", "cpu")
    return folder


def frames_in(path: Path) -> np.ndarray:
    with cache.read(path) as opened:
        return opened.clips(range(len(opened)))[0]


def losses_in(directory: Path) -> list[float]:
    with (directory / "loss.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) for name in ("loss", "validation_loss")]


def assert_same_files(found: Path, expected: Path, *names: str) -> None:
    for name in names:
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name


def test_frames_are_those_of_the_cpu(
    accelerator: Accelerator, recordings: tuple[Path, list[Entry]], on_cpu: Path, tmp_path: Path
) -> None:
    expected = frames_in(on_cpu / "fan" / "id_00.h5")
    found, again = (frames_in(extract(recordings, tmp_path / name, "cuda")) for name in ("one.h5", "two.h5"))
    assert np.array_equal(found, again)
    np.testing.assert_allclose(found, expected, rtol=0, atol=CPU_DECIBELS if accelerator.exact else CUDA_DECIBELS)


def test_frames_of_blocks_of_one_size_are_those_of_the_cpu_to_the_bit(
    recordings: tuple[Path, list[Entry]], on_cpu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "BATCH_SAMPLES", 1)
    monkeypatch.setattr(features, "GPU_FRAMES", features.CPU_FRAMES)
    with pretend_accelerator() as device:
        monkeypatch.setattr(features, "choose", lambda *_: device)
        found = frames_in(extract(recordings, tmp_path / "id_00.h5", "cuda"))
    assert np.array_equal(found, frames_in(on_cpu / "fan" / "id_00.h5"))


@pytest.mark.parametrize("schedule", ["published", "fast"])
@pytest.mark.parametrize("memory", [4096, STREAMED], ids=["resident", "streamed"])
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch_norm"])
def test_models_are_those_of_the_cpu(
    accelerator: Accelerator, on_cpu: Path, tmp_path: Path, batch_norm: bool, memory: float, schedule: str
) -> None:
    made = on_cpu / "fan" / "id_00.h5"
    settings: dict[str, Any] = {"batch_norm": batch_norm, "memory": memory, "schedule": schedule}
    expected = fit(made, tmp_path / "cpu", "cpu", **settings)
    found, again = (fit(made, tmp_path / name, "cuda", **settings) for name in ("one", "two"))
    assert_same_files(found, again, "model.safetensors", "model.json", "loss.csv")
    assert detectors.read_card(found).device["type"] == accelerator.device.type
    if accelerator.exact:
        assert_same_files(found, expected, "model.safetensors", "loss.csv")
    np.testing.assert_allclose(losses_in(found), losses_in(expected), rtol=CUDA_SCORES)


def fit_stacked(made: Path, directory: Path, device: str) -> Path:
    detectors.fit_scopes(
        [detectors.Scope(f"fan/id_0{number}", 0, [made], directory / f"{number}") for number in range(3)],
        window=config.Window(frames=5),
        model=small_model(hidden=[16, 4, 16]),
        training=TRAINING.model_copy(update={"stacked": True}),
        seed=0,
        device=device,
        require_gpu=False,
    )
    return directory


def test_models_trained_at_once_are_those_of_the_cpu(accelerator: Accelerator, on_cpu: Path, tmp_path: Path) -> None:
    made = on_cpu / "fan" / "id_00.h5"
    expected, found, again = (
        fit_stacked(made, tmp_path / device, device.rstrip("2")) for device in ("cpu", "cuda", "cuda2")
    )
    for number in range(3):
        one, other, cpu = (folder / f"{number}" for folder in (found, again, expected))
        assert_same_files(one, other, "model.safetensors", "model.json", "loss.csv")
        if accelerator.exact:
            assert_same_files(one, cpu, "model.safetensors", "loss.csv")
        np.testing.assert_allclose(losses_in(one), losses_in(cpu), rtol=CUDA_SCORES)


def test_scores_are_those_of_the_cpu(accelerator: Accelerator, on_cpu: Path, tmp_path: Path) -> None:
    made, model = on_cpu / "fan" / "id_00.h5", on_cpu / "model"
    found, again = (score(made, model, tmp_path / name / "scores.csv", "cuda") for name in ("one", "two"))
    assert_same_files(found.parent, again.parent, "scores.csv", "scores.json")
    if accelerator.exact:
        assert_same_files(found.parent, on_cpu, "scores.csv")
    expected = scores.read(on_cpu / "scores.csv").statistics
    for name, values in scores.read(found).statistics.items():
        np.testing.assert_allclose(values, expected[name], rtol=CUDA_SCORES)


@pytest.mark.usefixtures("accelerator")
def test_a_fit_goes_on_from_its_checkpoint(
    on_cpu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made, kept = on_cpu / "fan" / "id_00.h5", tmp_path / "checkpoints"
    whole = fit(made, tmp_path / "whole", "cuda")

    def keep_and_die(checkpoint: Checkpoint, state: training.State) -> None:
        keep(checkpoint, state, always=True)
        raise Killed

    keep = Checkpoint.keep
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "keep", keep_and_die)
        with pytest.raises(Killed):
            fit(made, tmp_path / "killed", "cuda", kept=kept)
    with caplog.at_level(logging.INFO):
        resumed = fit(made, tmp_path / "resumed", "cuda", kept=kept)
    assert "training goes on after epoch 1" in caplog.text
    assert_same_files(resumed, whole, "model.safetensors", "loss.csv")


Plant = Callable[[pytest.MonkeyPatch], None]


def leave_network(monkeypatch: pytest.MonkeyPatch) -> None:
    make = detectors._network

    def made(*arguments: Any) -> Any:
        network = make(*arguments)
        monkeypatch.setattr(network, "to", lambda _: network)
        return network

    monkeypatch.setattr(detectors, "_network", made)


def leave_attribute(kind: type, name: str) -> Plant:
    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        make = kind.__init__  # type: ignore[misc]

        def made(self: Any, *settings: Any) -> None:
            make(self, *settings)
            setattr(self, name, left(getattr(self, name)))

        monkeypatch.setattr(kind, "__init__", made)

    return plant


def left(value: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    return value.cpu() if isinstance(value, Tensor) else [tensor.cpu() for tensor in value]


def leave_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand Adam's kernel the number of the step on the CPU."""
    kernel: Callable[..., None] = torch._fused_adam_

    def calling(*arguments: Any, **options: Any) -> None:
        kernel(*arguments[:5], left(arguments[5]), **options)

    monkeypatch.setattr(torch, "_fused_adam_", calling)


def leave_argument(module: Any, function: str, place: int) -> Plant:
    """Hand a function one of its tensors, or of its lists of them, on the CPU."""

    def plant(monkeypatch: pytest.MonkeyPatch) -> None:
        called = getattr(module, function)

        def calling(*arguments: Any) -> Any:
            return called(*(left(value) if index == place else value for index, value in enumerate(arguments)))

        monkeypatch.setattr(module, function, calling)

    return plant


def forget_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `.cpu().numpy()` be `.numpy()`."""
    monkeypatch.setattr(Tensor, "cpu", lambda tensor: tensor)


MISTAKES: dict[str, tuple[str, Plant]] = {
    "window": ("extract", leave_attribute(features.LogMel, "window")),
    "filter bank": ("extract", leave_attribute(features.LogMel, "banks")),
    "frames out": ("extract", forget_cpu),
    "network fitted": ("fit", leave_network),
    "batch": ("fit", leave_argument(training, "gradient_of", 1)),
    "gradient": ("fit", leave_argument(training.Adam, "step", 1)),
    "count of the step": ("fit", leave_count),
    "index of the windows": ("fit", leave_argument(training, "gather", 1)),
    "features": ("fit", leave_argument(training, "gather", 0)),
    "first moment": ("fit", leave_attribute(training.Adam, "_means")),
    "second moment": ("fit", leave_attribute(training.Adam, "_squares")),
    "windows validated": ("fit", leave_argument(training, "reconstruction_errors", 1)),
    "network scoring": ("score", leave_network),
    "windows scored": ("score", leave_argument(detectors, "reconstruction_errors", 1)),
    "errors out": ("score", forget_cpu),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.usefixtures("accelerator")
def test_a_tensor_that_was_left_behind_is_an_error(
    recordings: tuple[Path, list[Entry]],
    on_cpu: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mistake: str,
) -> None:
    made, model = on_cpu / "fan" / "id_00.h5", on_cpu / "model"
    stages = {
        "extract": lambda: extract(recordings, tmp_path / "id_00.h5", "cuda"),
        "fit": lambda: fit(made, tmp_path / "model", "cuda"),
        "score": lambda: score(made, model, tmp_path / "scores.csv", "cuda"),
    }
    stage, plant = MISTAKES[mistake]
    plant(monkeypatch)
    with pytest.raises((RuntimeError, TypeError), match=r"same device|numpy"):
        stages[stage]()


def _add_to_number(here: Tensor, there: Tensor) -> Tensor:
    return torch.zeros(()).add_(there.sum())


REFUSED: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "sum": lambda here, there: here + there,
    "product": lambda here, there: here @ there.T,
    "joined": lambda here, there: torch.cat([there, here]),
    "selected by an index here": lambda here, there: there.index_select(0, torch.tensor([0])),
    "indexed from there": lambda here, there: here[there.argmax(0)],
    "added here": lambda here, there: here.add_(there),
    "added there": lambda here, there: there.add_(here),
    "added to a number here": _add_to_number,
    "without cpu": lambda here, there: there.numpy(),
}
ALLOWED: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "number": lambda here, there: there + torch.tensor(2.0),
    "indexed from here": lambda here, there: there[torch.tensor([1, 0])],
    "copied here": lambda here, there: here.copy_(there),
    "copied there": lambda here, there: there.copy_(here),
    "part copied there": lambda here, there: there[:1].copy_(here[:1]),
    "number out": lambda here, there: float(there.sum()),
    "array out": lambda here, there: there.cpu().numpy(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_device_refuses(accelerator: Accelerator, name: str) -> None:
    here = torch.eye(2)
    with pytest.raises((RuntimeError, TypeError), match=r"same device|numpy|\(cpu\)"):
        REFUSED[name](here, here.to(accelerator.device))


@pytest.mark.parametrize("name", ALLOWED)
def test_the_device_allows(accelerator: Accelerator, name: str) -> None:
    here = torch.eye(2)
    expected = ALLOWED[name](here.clone(), here.clone())
    found = ALLOWED[name](here.clone(), here.to(accelerator.device))
    assert np.array_equal(found.cpu() if isinstance(found, Tensor) else found, expected)
