from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from offnote import cache, detectors
from offnote.cache import CachedClip
from offnote.checkpoints import Checkpoint
from offnote.clips import Entry, Excluded
from offnote.config import Window
from offnote.detectors import AutoencoderDetector, FitTask, load_detector, read_card
from offnote.errors import InputError

from tests.small import CPU, SIZE, fit_small, noise, small_cache, small_model, small_training

MELS = 4
SETTINGS = {"features": {"n_mels": MELS, "power": 2.0}}


def made_cache(
    path: Path, train: int = 6, frames: int = 30, mels: int = MELS, settings: dict[str, Any] = SETTINGS
) -> Path:
    splits = ["train"] * train + ["test"] * 2
    entries = [Entry(f"{path.parent.name}/{path.stem}/{split}{i}.wav", split) for i, split in enumerate(splits)]
    return small_cache(path, noise([frames] * len(entries), mels), entries, settings)


def fit(caches: list[Path], directory: Path, batch_norm: bool = True, **changes: Any) -> Path:
    model, training = small_model(scope="type", batch_norm=batch_norm), small_training(validation=0.3)
    fit_small(caches, directory, **{"model": model, "training": training, "scope": "fan/all"} | changes)
    return directory


@pytest.fixture
def clip() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(25, MELS)).astype(np.float32)


def test_a_loaded_detector_scores_bit_for_bit_as_the_saved_one(tmp_path: Path, clip: np.ndarray) -> None:
    fit([made_cache(tmp_path / "fan" / "id_00.h5")], tmp_path / "model")
    loaded = load_detector(tmp_path / "model", CPU)
    assert isinstance(loaded, AutoencoderDetector)
    loaded.save(tmp_path / "again")
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "model" / name).read_bytes()
    assert load_detector(tmp_path / "again", CPU).score(clip, [0.9]) == loaded.score(clip, [0.9])


def test_saving_keeps_the_scores_of_the_fit(tmp_path: Path, clip: np.ndarray) -> None:
    with cache.read(made_cache(tmp_path / "fan" / "id_00.h5")) as opened:
        card = read_card(fit([opened.path], tmp_path / "model"))
        normal = detectors.NormalClips([opened], [(0, 0), (0, 1), (0, 2)], [])
        fitted = AutoencoderDetector.fit(FitTask(normal, card, Checkpoint(None, 0.0)), CPU)
    fitted.save(tmp_path / "other")
    assert AutoencoderDetector.load(tmp_path / "other", CPU).score(clip, [0.5]) == fitted.score(clip, [0.5])


def test_two_fits_write_the_same_bytes_and_other_trials_others(tmp_path: Path) -> None:
    caches = [made_cache(tmp_path / "fan" / f"id_0{i}.h5") for i in range(2)]
    first, second = (fit(caches, tmp_path / name) for name in ("first", "second"))
    other = fit(caches, tmp_path / "other", trial=1)
    for name in ("model.safetensors", "model.json", "loss.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
        assert (first / name).read_bytes() != (other / name).read_bytes()


def test_the_card_tells_where_the_model_comes_from(tmp_path: Path) -> None:
    caches = [made_cache(tmp_path / "fan" / f"id_0{i}.h5", train=7) for i in range(2)]
    card = json.loads((fit(caches, tmp_path / "model") / "model.json").read_text())
    assert card["format"] == "offnote-model"
    assert card["features"] == SETTINGS
    assert card["inputs_sha256"] == [cache.read(path).inputs_sha256 for path in caches]
    assert card["parameters"] == {"trainable": 290, "statistics": 36}
    assert [held["path"].split("/")[1] for held in card["held_out"]] == ["id_00"] * 2 + ["id_01"] * 2
    assert str(tmp_path) not in (tmp_path / "model" / "model.json").read_text()
    with (tmp_path / "model" / "loss.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[-1]["loss"]) == card["loss"]
    assert float(rows[-1]["validation_loss"]) == card["validation_loss"]


def test_without_held_out_clips_the_validation_loss_is_empty(tmp_path: Path) -> None:
    directory = fit([made_cache(tmp_path / "fan" / "id_00.h5", train=1)], tmp_path / "model")
    assert (directory / "loss.csv").read_text().splitlines()[1].endswith(",")
    card = read_card(directory)
    assert card.validation_loss is None
    assert card.held_out == []


def test_a_machine_holds_out_the_same_clips_alone_and_with_others(tmp_path: Path) -> None:
    caches = [made_cache(tmp_path / "fan" / f"id_0{i}.h5", train=20) for i in range(2)]
    alone = read_card(fit(caches[1:], tmp_path / "alone", scope="fan/id_01")).held_out
    together = read_card(fit(caches, tmp_path / "together")).held_out
    assert alone == together[-len(alone) :]


def test_a_score_depends_on_the_clip_alone(tmp_path: Path, clip: np.ndarray) -> None:
    detector = load_detector(fit([made_cache(tmp_path / "fan" / "id_00.h5")], tmp_path / "model"), CPU)
    alone = detector.score(clip, [0.9])
    detector.score(100 * clip[::-1].copy(), [0.9])
    assert detector.score(clip, [0.9]) == alone
    surrounded = np.concatenate([clip + 9, clip, clip - 9])
    assert detector.score(surrounded[len(clip) : 2 * len(clip)], [0.9]) == alone


def test_the_score_is_a_statistic_of_the_window_errors_also_of_long_clips(tmp_path: Path) -> None:
    detector = load_detector(fit([made_cache(tmp_path / "fan" / "id_00.h5")], tmp_path / "model"), CPU)
    assert isinstance(detector, AutoencoderDetector)
    frames = np.random.default_rng(2).normal(size=(2 * detectors.WINDOWS_PER_BLOCK + 7, MELS)).astype(np.float32)
    errors = []
    with torch.no_grad():
        for first in range(len(frames) - SIZE + 1):
            window = torch.from_numpy(frames[first : first + SIZE].reshape(1, -1))
            errors.append(((detector.network(window) - window) ** 2).mean().item())
    found = detector.score(frames, [0.25])
    expected = [np.mean(errors), np.median(errors), np.std(errors), np.max(errors), np.quantile(errors, 0.25)]
    assert list(found) == ["mean", "median", "std", "max", "q25"]
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-5)


def _one_clip_short(folder: Path) -> list[Path]:
    return [made_cache(folder / "fan" / "id_00.h5", frames=2)]


def _other_settings(folder: Path) -> list[Path]:
    return [
        made_cache(folder / "fan" / "id_00.h5"),
        made_cache(folder / "fan" / "id_02.h5", settings={"features": {"n_mels": MELS, "power": 1.0}}),
    ]


def _other_mels(folder: Path) -> list[Path]:
    return [made_cache(folder / "fan" / "id_00.h5"), made_cache(folder / "fan" / "id_02.h5", mels=5)]


@pytest.mark.parametrize(
    ("caches", "message"),
    [
        (lambda folder: [], "no feature cache"),
        (_one_clip_short, r"clip fan/id_00/train0.wav: 2 frames are less than one context window of 3"),
        (_other_settings, r"id_02.h5: .*features.power is 1.0 there and 2.0 here"),
        (_other_mels, "id_02.h5: 5 mel bands"),
        (
            lambda folder: [made_cache(folder / "fan" / "id_00.h5", train=1, frames=SIZE)],
            "has 1 training window, which is too few",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    tmp_path: Path, caches: Callable[[Path], list[Path]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit(caches(tmp_path), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_scope_whose_training_clips_are_all_excluded_has_a_model_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "fan" / "id_00.h5"
    clips = [CachedClip(Entry("a.wav", "test"), "", 0, np.zeros((9, MELS), np.float32))]
    cache.write(path, [Excluded(Entry("b.wav", "train"), "silent"), *clips], SETTINGS, n_mels=MELS)
    directory = fit([path], tmp_path / "model", broken_clips="exclude")
    assert read_card(directory).status == "no usable training clips"
    assert (directory / "loss.csv").read_text() == "epoch,loss,validation_loss\n"


def test_a_scope_of_which_a_gate_leaves_no_training_clip_has_a_model_that_says_so(tmp_path: Path) -> None:
    directory = fit([made_cache(tmp_path / "fan" / "id_00.h5", train=0)], tmp_path / "model")
    assert read_card(directory).status == "no usable training clips"


def test_clips_are_held_out_among_those_that_can_be_used(tmp_path: Path) -> None:
    long, short = (np.zeros((frames, MELS), np.float32) for frames in (9, 2))
    path = tmp_path / "fan" / "id_00.h5"
    clips = [CachedClip(Entry(f"{n}.wav", "train"), "", 0, long if n < 2 else short) for n in range(20)]
    cache.write(path, clips, SETTINGS, n_mels=MELS)
    held_out = read_card(fit([path], tmp_path / "model", broken_clips="exclude")).held_out
    assert [clip.path in ("0.wav", "1.wav") for clip in held_out] == [True]


def _edit(change: dict[str, Any]) -> Callable[[Path], None]:
    def edit(directory: Path) -> None:
        card = json.loads((directory / "model.json").read_text()) | change
        (directory / "model.json").write_text(json.dumps(card))

    return edit


def _other_shapes(directory: Path) -> None:
    wider = fit(
        [made_cache(directory.parent / "fan" / "id_04.h5")], directory.parent / "wider", window=Window(frames=4)
    )
    (directory / "model.safetensors").write_bytes((wider / "model.safetensors").read_bytes())
    _edit({"weights_sha256": read_card(wider).weights_sha256})(directory)


def _other_weights(directory: Path) -> None:
    weights = safetensors.torch.load_file(directory / "model.safetensors")
    safetensors.torch.save_file({name: 2 * tensor for name, tensor in weights.items()}, directory / "model.safetensors")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda directory: (directory / "model.json").unlink(), "train it first"),
        (lambda directory: (directory / "model.json").write_text("{"), "model.json: not a model"),
        (_edit({"format": "onnx"}), "format: Input should be 'offnote-model'"),
        (_edit({"format_version": 2}), "format_version: Input should be 1"),
        (_edit({"n_mels": "four"}), "n_mels: Input should be a valid integer"),
        (_edit({"detector": "oracle"}), "detector 'oracle' is none of autoencoder"),
        (lambda directory: (directory / "model.safetensors").unlink(), "weights cannot be read"),
        (lambda directory: (directory / "model.safetensors").write_bytes(b"\x80\x04pickle"), "weights cannot be read"),
        (_other_weights, "not the weights that model.json beside it names"),
        (_edit({"window": {"frames": 10**4}}), "fewer weights than the layers that model.json names"),
        (_edit({"covariances": [{"domain": "", "windows": 9, "raised": 0}] * 10**4}), "fewer weights than the layers"),
        (_other_shapes, r"layers.0.weight is \(8, 16\), and by model.json \(8, 12\)"),
    ],
)
def test_a_spoilt_model_is_refused(tmp_path: Path, spoil: Callable[[Path], None], message: str) -> None:
    directory = fit([made_cache(tmp_path / "fan" / "id_00.h5")], tmp_path / "model", batch_norm=False)
    spoil(directory)
    with pytest.raises(InputError, match=message):
        load_detector(directory, CPU)


def test_no_half_written_model_carries_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no more")

    made = made_cache(tmp_path / "fan" / "id_00.h5")
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no more"):
        fit([made], tmp_path / "model")
    assert not list((tmp_path / "model").iterdir())
