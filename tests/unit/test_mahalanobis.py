"""Mahalanobis distances of residuals, against plain loops, SciPy and scikit-learn."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from offnote import cache, detectors, training
from offnote.checkpoints import Checkpoint
from offnote.clips import Entry
from offnote.config import Window
from offnote.detectors import AutoencoderDetector, FitTask, load_detector, read_card
from offnote.errors import InputError
from offnote.mahalanobis import Distances, residual_covariances
from offnote.scoring import score_machine
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import EmpiricalCovariance
from torch import Tensor, nn

from tests.accelerator import pretend_accelerator
from tests.small import CPU, SIZE, fit_small, small_cache, small_model, small_training

MELS = 4
SETTINGS = {"features": {"n_mels": MELS, "power": 2.0}}
TRAINING = small_training()
OF_MEAN, OF_WINDOWS = "mahalanobis_of_mean", "mahalanobis_of_windows"
STREAMED = 0.001
"""MiB of features on the device: less than the clips here have."""

MIX = np.random.default_rng(7).normal(size=(MELS, MELS))
SOURCE_AND_TARGET = ["source"] * 12 + ["target"] * 3


class Zero(nn.Module):
    """A network whose reconstruction is silence, so that a residual is a frame with its sign turned."""

    def forward(self, windows: Tensor) -> Tensor:
        return torch.zeros_like(windows)


def shifted(values: np.ndarray) -> np.ndarray:
    """Return frames as the target domain has them: louder in two bands, and quieter in two."""
    return values[:, ::-1] * [0.2, 3.0, 0.2, 3.0]


def made_cache(
    path: Path,
    domains: Sequence[str] = SOURCE_AND_TARGET,
    frames: Callable[[int], int] = lambda number: 20 + number,
    constant: bool = False,
) -> Path:
    clips = []
    for number, domain in enumerate([*domains, None, None]):
        values = np.random.default_rng(number).normal(size=(frames(number), MELS)) @ MIX
        if domain == "target":
            values = shifted(values)
        clips.append(np.full_like(values, -20.0) if constant else values)
    entries = [Entry(f"{number}.wav", "train", domain) for number, domain in enumerate(domains)]
    entries += [Entry(f"{len(domains) + number}.wav", "test") for number in range(2)]
    return small_cache(path, clips, entries)


def fit(made: Path, directory: Path, distance: str = OF_MEAN, **changes: Any) -> Path:
    fit_small([made], directory, **{"model": small_model(distance=distance), "training": TRAINING} | changes)
    return directory


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return made_cache(tmp_path / "fan" / "id_00.h5")


@pytest.fixture
def clip() -> np.ndarray:
    return (np.random.default_rng(99).normal(size=(25, MELS)) @ MIX).astype(np.float32)


def loaded(directory: Path) -> AutoencoderDetector:
    detector = load_detector(directory, CPU)
    assert isinstance(detector, AutoencoderDetector)
    return detector


def covariances_of(directory: Path) -> np.ndarray:
    covariances = loaded(directory).covariances
    assert covariances is not None
    return covariances.numpy()


def residuals_of(detector: AutoencoderDetector, frames: np.ndarray) -> np.ndarray:
    """Reconstruct window by window, and return what is wrong in each frame: (windows, frames, mels)."""
    wrong = []
    with torch.no_grad():
        for first in range(len(frames) - SIZE + 1):
            window = torch.from_numpy(frames[first : first + SIZE].reshape(1, -1))
            wrong.append((detector.network(window) - window).double().numpy().reshape(SIZE, MELS))
    return np.array(wrong)


def test_the_covariances_are_those_of_a_plain_loop_over_batches_and_domains(made: Path) -> None:
    batch_size = 50
    with cache.read(made) as opened:
        fitted = [(0, number) for number in (14, 2, 3, 7, 12, 13)]
        windows = training.WindowSource([opened], fitted, SIZE, CPU)
        order = sorted(number for _, number in fitted)
        of_clip = {number: int(opened.entries[number].domain == "target") for number in order}
        domains = np.concatenate([np.full(20 + number - SIZE + 1, of_clip[number]) for number in order])
        found = residual_covariances(Zero(), windows, domains, MELS, batch_size, torch.Generator().manual_seed(5))
        frames = [-opened.clip(number).astype(np.float64) for number in order]
    residuals = np.array([clip[first : first + SIZE] for clip in frames for first in range(len(clip) - SIZE + 1)])
    batch_of = torch.randperm(len(residuals), generator=torch.Generator().manual_seed(5)).numpy() // batch_size
    assert batch_of.max() == 3
    for domain in (0, 1):
        total = np.zeros((MELS, MELS))
        for batch in range(4):
            rows = residuals[(domains == domain) & (batch_of == batch)].reshape(-1, MELS)
            for row in rows:
                total += np.outer(row - rows.mean(axis=0), row - rows.mean(axis=0))
        np.testing.assert_allclose(found[domain], total / ((domains == domain).sum() - 1), rtol=1e-12)


def test_in_one_batch_distances_are_those_of_scikit_learn_and_scipy(made: Path, clip: np.ndarray) -> None:
    with cache.read(made) as opened:
        windows = training.WindowSource([opened], [(0, 0), (0, 1)], SIZE, CPU)
        domains = np.zeros(windows.windows, dtype=np.int64)
        covariances = residual_covariances(Zero(), windows, domains, MELS, 1000, torch.Generator())
        frames = np.concatenate([batch.numpy().reshape(-1, MELS) for batch in windows.batches(1000)])
    reference = EmpiricalCovariance().fit(frames.astype(np.float64))
    # The published code counts windows where it adds up frames.
    scale = len(frames) / (windows.windows - 1)
    np.testing.assert_allclose(covariances[0], scale * reference.covariance_, rtol=1e-9)
    reference.location_ = np.zeros(MELS)
    distances = Distances(covariances, CPU)
    found = distances.of_windows(torch.from_numpy(clip).double().unsqueeze(1))
    np.testing.assert_allclose(found, reference.mahalanobis(clip.astype(np.float64)) / scale, rtol=1e-9)
    mean = clip.astype(np.float64).mean(axis=0)
    expected = mahalanobis(mean, np.zeros(MELS), np.linalg.inv(covariances[0].numpy())) ** 2
    assert distances.of_mean(torch.from_numpy(mean)) == pytest.approx(expected, rel=1e-12)


def test_the_distance_of_the_mean_is_the_published_mean_over_all_pairs_of_frames(
    tmp_path: Path, made: Path, clip: np.ndarray
) -> None:
    detector = loaded(fit(made, tmp_path / "model"))
    wrong = residuals_of(detector, clip).reshape(-1, MELS)
    expected = []
    for covariance in covariances_of(tmp_path / "model"):
        inverse = np.linalg.inv(covariance)
        expected.append(np.mean([one @ inverse @ other for one in wrong for other in wrong]))
    assert expected[0] != pytest.approx(expected[1])
    score = detector.score(clip, [0.9])
    assert list(score) == ["mean"]
    assert score["mean"] == pytest.approx(min(expected), rel=1e-4)


def test_the_distance_of_windows_takes_the_nearer_domain_window_by_window(
    tmp_path: Path, made: Path, clip: np.ndarray
) -> None:
    detector = loaded(fit(made, tmp_path / "model", OF_WINDOWS))
    inverses = [np.linalg.inv(covariance) for covariance in covariances_of(tmp_path / "model")]
    both = np.concatenate([clip, shifted(clip).astype(np.float32)])
    distances = np.array(
        [
            [np.mean([frame @ inverse @ frame for frame in window]) for inverse in inverses]
            for window in residuals_of(detector, both)
        ]
    )
    assert set(distances.argmin(axis=1)) == {0, 1}
    nearest = distances.min(axis=1)
    expected = [nearest.mean(), np.median(nearest), nearest.std(), nearest.max(), np.quantile(nearest, 0.25)]
    found = detector.score(both, [0.25])
    assert list(found) == ["mean", "median", "std", "max", "q25"]
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-4)


@pytest.mark.parametrize("distance", [OF_MEAN, OF_WINDOWS])
def test_a_long_clip_goes_in_blocks_and_alone(
    tmp_path: Path, made: Path, distance: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = loaded(fit(made, tmp_path / "model", distance))
    frames = np.random.default_rng(2).normal(size=(100, MELS)).astype(np.float32)
    whole = detector.score(frames, [0.9])
    assert detector.score(frames, [0.9]) == whole
    monkeypatch.setattr(detectors, "WINDOWS_PER_BLOCK", 7)
    blocks = detector.score(frames, [0.9])
    np.testing.assert_allclose(list(blocks.values()), list(whole.values()), rtol=1e-5)


def test_both_distances_come_from_one_network_and_the_same_covariances(tmp_path: Path, made: Path) -> None:
    plain, of_mean, of_windows = (
        loaded(fit(made, tmp_path / distance, distance)) for distance in ("squared_error", OF_MEAN, OF_WINDOWS)
    )
    for name, weights in plain.network.state_dict().items():
        assert torch.equal(weights, of_mean.network.state_dict()[name])
        assert torch.equal(weights, of_windows.network.state_dict()[name])
    assert plain.covariances is None
    assert plain.card.covariances == []
    assert of_mean.covariances is not None
    assert of_windows.covariances is not None
    assert torch.equal(of_mean.covariances, of_windows.covariances)


def test_held_out_clips_are_in_no_covariance(tmp_path: Path, made: Path) -> None:
    card = read_card(fit(made, tmp_path / "model"))
    held_out = {entry.path for entry in card.held_out}
    assert len(held_out) == 3
    expected = {"source": 0, "target": 0}
    for number, domain in enumerate(SOURCE_AND_TARGET):
        if f"{number}.wav" not in held_out:
            expected[domain] += 20 + number - SIZE + 1
    assert {row.domain: row.windows for row in card.covariances} == expected
    assert [row.raised for row in card.covariances] == [0, 0]


@pytest.mark.parametrize("distance", [OF_MEAN, OF_WINDOWS])
def test_a_loaded_detector_scores_bit_for_bit_as_the_fitted_one(
    tmp_path: Path, made: Path, distance: str, clip: np.ndarray
) -> None:
    card = read_card(fit(made, tmp_path / "model", distance))
    with cache.read(made) as opened:
        clips = detectors.NormalClips([opened], [(0, number) for number in range(15)], [])
        fitted = AutoencoderDetector.fit(FitTask(clips, card, Checkpoint(None, 0.0)), CPU)
    fitted.save(tmp_path / "first")
    again = loaded(tmp_path / "first")
    assert again.score(clip, [0.5]) == fitted.score(clip, [0.5])
    again.save(tmp_path / "second")
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_two_fits_and_one_that_goes_on_from_a_checkpoint_write_the_same_bytes(tmp_path: Path, made: Path) -> None:
    fit(made, tmp_path / "first")
    # The second of these finds the checkpoint of the first and has no epoch left to train.
    fit(made, tmp_path / "kept", checkpoints=tmp_path / "checkpoints")
    assert list((tmp_path / "checkpoints").glob("*/state.safetensors"))
    fit(made, tmp_path / "resumed", checkpoints=tmp_path / "checkpoints")
    for name in ("model.safetensors", "model.json"):
        for other in ("kept", "resumed"):
            assert (tmp_path / other / name).read_bytes() == (tmp_path / "first" / name).read_bytes()


def test_streamed_windows_give_the_covariances_of_resident_ones(made: Path) -> None:
    found = []
    with cache.read(made) as opened:
        fitted = [(0, number) for number in range(15)]
        domains = np.repeat([0, 1], [sum(20 + n - SIZE + 1 for n in part) for part in (range(12), range(12, 15))])
        for memory in (4096.0, STREAMED):
            [windows] = training.window_sources([opened], [fitted], SIZE, CPU, memory)
            found.append(residual_covariances(Zero(), windows, domains, MELS, 16, torch.Generator().manual_seed(1)))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)


def test_a_streamed_scope_is_fitted(tmp_path: Path, made: Path) -> None:
    streamed = TRAINING.model_copy(update={"memory": STREAMED})
    first, second = (fit(made, tmp_path / name, training=streamed) for name in ("first", "second"))
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    counts = [[row.windows for row in read_card(folder).covariances] for folder in (first, fit(made, tmp_path / "all"))]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("domains", "expected"),
    [([""] * 15, [""]), (["source"] * 15, ["source"]), (["wet", "dry", "hot"] * 5, ["dry", "hot", "wet"])],
)
def test_each_domain_there_is_has_a_covariance_and_clips_without_domains_share_one(
    tmp_path: Path, domains: list[str], expected: list[str], clip: np.ndarray
) -> None:
    directory = fit(made_cache(tmp_path / "fan" / "id_00.h5", domains), tmp_path / "model")
    assert [row.domain for row in read_card(directory).covariances] == expected
    assert covariances_of(directory).shape == (len(expected), MELS, MELS)
    assert loaded(directory).score(clip, [])["mean"] > 0


def test_a_domain_of_few_windows_is_far_where_they_say_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    domains = ["source"] * 12 + ["target"]
    made = made_cache(tmp_path / "fan" / "id_00.h5", domains, lambda number: 2 if number == 12 else 30)
    one_batch = TRAINING.model_copy(update={"validation": 0.0, "batch_size": 1000})
    with caplog.at_level(logging.WARNING, logger="offnote"):
        directory = fit(made, tmp_path / "model", OF_WINDOWS, training=one_batch, window=Window(frames=1))
    rows = read_card(directory).covariances
    # Two residuals less their mean lie on one line.
    assert [(row.domain, row.windows, row.raised) for row in rows] == [("source", 360, 0), ("target", 2, 3)]
    [warning] = caplog.messages
    assert "the 2 training windows of the domain 'target' are too few or too alike" in warning
    alone = Distances(torch.from_numpy(covariances_of(directory)[:1]), CPU)
    with cache.read(made) as opened:
        for number in range(12):
            frames = opened.clip(number)
            with torch.no_grad():
                wrong = loaded(directory).network(torch.from_numpy(frames)).double() - torch.from_numpy(frames)
            expected = alone.of_windows(wrong.unsqueeze(1)).mean()
            assert loaded(directory).score(frames, [])["mean"] == pytest.approx(float(expected), rel=1e-2)


def test_a_direction_of_which_a_covariance_says_nothing_is_far_and_no_place_to_hide() -> None:
    flat = torch.diag(torch.tensor([9.0, 4.0, 1.0, 0.0], dtype=torch.float64))
    full = torch.eye(MELS, dtype=torch.float64)
    distances = Distances(torch.stack([flat, full]), CPU)
    assert distances.raised == [1, 0]
    unseen = torch.tensor([[[0.0, 0.0, 0.0, 2.0]], [[3.0, 0.0, 0.0, 0.0]]], dtype=torch.float64)
    # A pseudo-inverse would take the first for a perfect reconstruction.
    assert distances.of_windows(unseen).tolist() == pytest.approx([4.0, 1.0])
    alone = Distances(flat.unsqueeze(0), CPU).of_windows(unseen)
    assert alone.tolist() == pytest.approx([4.0 / (9 * 2**-23), 1.0])


def test_turning_all_residuals_alike_changes_no_distance() -> None:
    rng = np.random.default_rng(3)
    turn, _ = np.linalg.qr(rng.normal(size=(MELS, MELS)))
    spread = np.cov(rng.normal(size=(MELS, 3)))
    wrong = torch.from_numpy(rng.normal(size=(5, 2, MELS)))
    plain, turned = (
        Distances(torch.from_numpy(matrix)[None], CPU).of_windows(residual)
        for matrix, residual in ((spread, wrong), (turn @ spread @ turn.T, wrong @ torch.from_numpy(turn.T)))
    )
    np.testing.assert_allclose(plain, turned, rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        (
            {"domains": ["source"] * 9 + [""] * 6},
            {},
            r"fan/id_00: 6 of 15 training clips have no domain, such as 9.wav; .* set model.distance: squared_error",
        ),
        (
            {"domains": ["source"] * 4 + ["target"], "frames": lambda number: SIZE if number == 4 else 30},
            {"training": TRAINING.model_copy(update={"validation": 0.0})},
            r"fan/id_00: the clips of the domain 'target' that are trained on have fewer than two context windows",
        ),
        (
            {"constant": True},
            {"window": Window(frames=1)},
            r"what the network gets wrong is the same in all training windows of the domain 's",
        ),
    ],
)
def test_what_gives_no_covariance_is_refused(
    tmp_path: Path, arguments: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    made = made_cache(tmp_path / "fan" / "id_00.h5", **arguments)
    with pytest.raises(InputError, match=message):
        fit(made, tmp_path / "model", **changes)
    assert not (tmp_path / "model").exists()
    fit(made, tmp_path / "plain", "squared_error", **changes)


def test_a_domain_whose_clips_are_all_held_out_is_refused_before_any_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    half = TRAINING.model_copy(update={"validation": 0.5})
    for number in range(10):
        made = made_cache(tmp_path / f"fan_{number}" / "id_00.h5", ["source"] * 3 + ["target"])
        plain = read_card(fit(made, tmp_path / f"plain_{number}", "squared_error", training=half))
        if "3.wav" in {clip.path for clip in plain.held_out}:
            break
    else:
        pytest.fail("no seed holds out the only clip of the target")
    with pytest.raises(InputError, match=r"domain 'target' .*; add such clips, set training.validation: 0"):
        fit(made, tmp_path / "model", training=half, checkpoints=tmp_path / "checkpoints")
    assert not (tmp_path / "checkpoints").exists()


def _edit(change: dict[str, Any]) -> Callable[[Path], None]:
    def edit(directory: Path) -> None:
        card = json.loads((directory / "model.json").read_text())
        (directory / "model.json").write_text(json.dumps(card | change))

    return edit


def _turn_into_plain(directory: Path) -> None:
    card = json.loads((directory / "model.json").read_text())
    _edit({"model": card["model"] | {"distance": "squared_error"}, "covariances": []})(directory)


def _flip_a_byte(directory: Path) -> None:
    content = bytearray((directory / "model.safetensors").read_bytes())
    content[content.index(b"covariances") + 400] ^= 1
    (directory / "model.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_edit({"covariances": []}), r"covariances is \(2, 4, 4\), and by model.json \(0, 4, 4\)"),
        (_edit({"covariances": [{"domain": "source"}]}), "covariances.0.windows: Field required"),
        (_turn_into_plain, r"covariances is \(2, 4, 4\), and by model.json missing"),
        (_flip_a_byte, "not the weights that model.json beside it names|cannot be read"),
    ],
)
def test_a_spoilt_model_is_refused(tmp_path: Path, made: Path, spoil: Callable[[Path], None], message: str) -> None:
    directory = fit(made, tmp_path / "model")
    spoil(directory)
    with pytest.raises(InputError, match=message):
        load_detector(directory, CPU)


def test_a_plain_model_does_not_pass_for_one_with_covariances(tmp_path: Path, made: Path) -> None:
    directory = fit(made, tmp_path / "model", "squared_error")
    card = json.loads((directory / "model.json").read_text())
    _edit({"model": card["model"] | {"distance": OF_MEAN}})(directory)
    with pytest.raises(InputError, match=r"covariances is missing, and by model.json \(0, 4, 4\)"):
        load_detector(directory, CPU)


def test_a_model_from_before_there_were_distances_is_read(tmp_path: Path, made: Path, clip: np.ndarray) -> None:
    directory = fit(made, tmp_path / "model", "squared_error")
    score = loaded(directory).score(clip, [])
    card = json.loads((directory / "model.json").read_text())
    del card["covariances"], card["model"]["distance"]
    (directory / "model.json").write_text(json.dumps(card))
    assert loaded(directory).score(clip, []) == score


@pytest.mark.parametrize("distance", [OF_MEAN, OF_WINDOWS])
@pytest.mark.parametrize("memory", [4096.0, STREAMED])
def test_the_pretend_accelerator_gives_the_bits_of_the_cpu(
    tmp_path: Path, made: Path, distance: str, memory: float, clip: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TRAINING.model_copy(update={"memory": memory})
    fit(made, tmp_path / "cpu", distance, training=settings)
    with pretend_accelerator() as device:
        monkeypatch.setattr(detectors, "choose", lambda name, _: device)
        fit(made, tmp_path / "accelerator", distance, training=settings, device="cuda")
        score = load_detector(tmp_path / "accelerator", device).score(clip, [0.9])
    content = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("accelerator", "cpu")]
    assert content[0] == content[1]
    assert score == loaded(tmp_path / "cpu").score(clip, [0.9])


@pytest.mark.parametrize(("distance", "columns"), [(OF_MEAN, ["mean"]), (OF_WINDOWS, ["mean", "median", "std"])])
def test_the_score_file_has_what_the_distance_gives(
    tmp_path: Path, made: Path, distance: str, columns: list[str]
) -> None:
    directory = fit(made, tmp_path / "model", distance)
    output = tmp_path / "scores.csv"
    score_machine(
        made, directory, output, quantiles=[], threads=1, device="cpu",
        require_gpu=False,
    )  # fmt: skip
    with output.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[:2] == ["path", "split"]
    assert header[2 : 2 + len(columns)] == columns
    assert len(rows) == 17
    with cache.read(made) as opened:
        assert float(rows[-1][2]) == loaded(directory).score(opened.clip(16), [])["mean"]
