from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from offnote import cache, training
from offnote.cache import FeatureCache
from offnote.clips import Entry
from offnote.errors import InputError
from offnote.models import Autoencoder, Centred
from offnote.training import Adam, State, WindowSource, fit, held_out, start, trainable, window_sources
from torch import nn

from tests.small import CPU, generator, noise, small_cache, small_network, small_training

MELS, SIZE = 3, 4
RECIPE = small_training(epochs=3, validation=0.1)


def made_cache(
    path: Path, lengths: Sequence[int], dtype: Literal["float32", "float16"] = "float32", scale: float = 1.0
) -> FeatureCache:
    return cache.read(small_cache(path, noise(lengths, MELS, len(lengths), spread=scale), dtype=dtype))


def network(batch_norm: bool = False, seed: int = 0) -> Autoencoder:
    return small_network(MELS * SIZE, batch_norm=batch_norm, seed=seed)


def all_windows(caches: Sequence[FeatureCache], clips: Sequence[tuple[int, int]]) -> list[bytes]:
    """Cut the windows out in a plain loop."""
    found = []
    for number, clip in clips:
        frames = caches[number].clip(clip).astype(np.float32)
        found += [frames[first : first + SIZE].tobytes() for first in range(len(frames) - SIZE + 1)]
    return found


@given(
    st.integers(0, 40),
    st.integers(0, 5),
    st.floats(0, 0.99),
    st.integers(0, 2**63 - 1),
)
def test_held_out_clips_are_training_clips_never_none_and_never_all(
    train: int, test: int, fraction: float, seed: int
) -> None:
    entries = [Entry(f"test{i}", "test") for i in range(test)] + [Entry(f"{i}", "train") for i in range(train)]
    chosen = held_out(entries, fraction, seed)
    assert chosen == sorted(set(chosen)) == held_out(entries, fraction, seed)
    assert all(entries[index].split == "train" for index in chosen)
    assert len(chosen) <= max(0, train - 1)
    assert bool(chosen) == (fraction > 0 and train >= 2)
    if chosen:
        assert len(chosen) == min(max(1, round(fraction * train)), train - 1)


def test_seeds_hold_out_different_clips() -> None:
    entries = [Entry(f"{i}", "train") for i in range(64)]
    assert len({tuple(held_out(entries, 0.1, seed)) for seed in range(20)}) == 20


def slices(path: str, count: int = 10) -> list[Entry]:
    return [Entry(path, "train", start=5.0 * i, end=5.0 * i + 10) for i in range(count)]


def test_slices_of_a_recording_stay_together_if_there_are_enough_recordings() -> None:
    entries = slices("a.wav") + slices("b.wav") + slices("c.wav")
    chosen = held_out(entries, 0.3, 0)
    assert len(chosen) == 10
    assert len({entries[index].path for index in chosen}) == 1


@pytest.mark.parametrize("recordings", [1, 2, 4])
def test_a_stretch_of_each_of_few_long_recordings_is_held_out(recordings: int) -> None:
    entries = [
        Entry("test.wav", "test"),
        *(entry for number in range(recordings) for entry in slices(f"{number}", 360)),
    ]
    starts = set()
    for seed in range(5):
        chosen = held_out(entries, 0.1, seed)
        for number in range(recordings):
            stretch = [index for index in chosen if entries[index].path == f"{number}"]
            assert stretch == list(range(stretch[0], stretch[0] + 36))
            starts.add(stretch[0] % 360)
    assert len(starts) >= 5
    assert held_out(entries, 0.0, 0) == []


@pytest.mark.parametrize("block_bytes", [None, 1, 150, 400, 10**9])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_window_comes_exactly_once_resident_or_streamed(
    tmp_path: Path, block_bytes: int | None, dtype: Literal["float32", "float16"]
) -> None:
    caches = [made_cache(tmp_path / "a.h5", [9, 4, 12, 5], dtype), made_cache(tmp_path / "b.h5", [7, 20], dtype)]
    clips = [(1, 1), (0, 0), (0, 2), (1, 0), (0, 3)]
    source = WindowSource(caches, clips, SIZE, CPU, block_bytes)
    expected = Counter(all_windows(caches, clips))
    assert source.windows == expected.total()
    for shuffling in (None, generator(1)):
        found = [window.numpy().tobytes() for batch in source.batches(5, shuffling) for window in batch]
        assert Counter(found) == expected
    assert found != all_windows(caches, sorted(clips))


def test_epochs_have_different_orders_and_seeds_repeat_them(tmp_path: Path) -> None:
    source = WindowSource([made_cache(tmp_path / "a.h5", [30, 30])], [(0, 0), (0, 1)], SIZE, CPU)

    def order(shuffling: torch.Generator) -> torch.Tensor:
        return torch.cat(list(source.batches(7, shuffling)))

    shuffling = generator(3)
    first, second = order(shuffling), order(shuffling)
    assert torch.equal(first, order(generator(3)))
    assert not torch.equal(first, second)


def test_blocks_stay_within_the_memory_they_may_use(tmp_path: Path) -> None:
    lengths = [8] * 50
    source = WindowSource(
        [made_cache(tmp_path / "a.h5", lengths)], [(0, i) for i in range(50)], SIZE, CPU, block_bytes=8 * MELS * 4 * 10
    )
    loaded = [frames.numel() * 4 for frames, _ in source._blocks(generator())]
    assert len(loaded) == 5
    assert max(loaded) <= 8 * MELS * 4 * 10


def test_features_over_the_limit_are_streamed_and_others_are_kept(tmp_path: Path) -> None:
    opened = made_cache(tmp_path / "a.h5", [50_000, 60_000])
    parts = [[(0, 0)], [(0, 1)]]
    assert all(source.resident is None for source in window_sources([opened], parts, SIZE, CPU, memory=1))
    assert all(source.resident is not None for source in window_sources([opened], parts, SIZE, CPU, memory=2))


@pytest.mark.parametrize(("windows", "sizes"), [(10, [4, 4, 2]), (9, [4, 5]), (8, [4, 4]), (3, [3]), (1, [1])])
def test_the_last_batch_is_kept_and_a_single_window_joins_the_one_before(
    tmp_path: Path, windows: int, sizes: list[int]
) -> None:
    source = WindowSource([made_cache(tmp_path / "a.h5", [windows + SIZE - 1])], [(0, 0)], SIZE, CPU)
    assert [len(batch) for batch in source.batches(4)] == sizes


def test_adam_against_numpy() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2, dtype=torch.float64)
    optimiser = Adam(layer, learning_rate=0.1, epsilon=1e-7)
    values = np.concatenate([layer.weight.detach().numpy().ravel(), layer.bias.detach().numpy()])
    mean, square = np.zeros(8), np.zeros(8)
    inputs, targets = np.random.default_rng(0).normal(size=(2, 5, 3))
    for step in range(1, 6):
        weight, bias = values[:6].reshape(2, 3), values[6:]
        residual = (inputs @ weight.T + bias - targets[:, :2]) * 2 / 10
        gradient = np.concatenate([(residual.T @ inputs).ravel(), residual.sum(axis=0)])
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        values = values - 0.1 * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-7)
        pieces = [torch.from_numpy(gradient[:6].reshape(2, 3)), torch.from_numpy(gradient[6:])]
        optimiser.step(pieces, optimiser.next_factors())
        found = torch.cat([layer.weight.detach().flatten(), layer.bias.detach()]).numpy()
        np.testing.assert_allclose(found, values, rtol=1e-12)


def double_source(opened: FeatureCache) -> WindowSource:
    """Windows of the first clip in float64, so that equal algorithms stay equal."""
    source = WindowSource([opened], [(0, 0)], SIZE, CPU)
    source.dtype = torch.float64
    return source


def test_a_whole_fit_against_a_plain_loop_with_torchs_adam(tmp_path: Path) -> None:
    opened = made_cache(tmp_path / "a.h5", [43])
    fitted, reference = network().double(), network().double()
    state = start(fitted, RECIPE, generator(7))
    fit(state, double_source(opened), None, RECIPE, "fan")

    windows = torch.from_numpy(opened.clip(0).reshape(-1)).unfold(0, MELS * SIZE, MELS).double()
    shuffling = generator(7)
    optimiser = torch.optim.Adam(reference.parameters(), lr=1e-3, eps=1e-7)
    losses = []
    for _ in range(RECIPE.epochs):
        order, total = torch.randperm(40, generator=shuffling), 0.0
        for part in (order[:16], order[16:32], order[32:]):
            optimiser.zero_grad()
            loss = ((reference(windows[part]) - windows[part]) ** 2).mean()
            torch.autograd.backward(loss)
            optimiser.step()
            total += loss.item() * len(part)
        losses.append(total / 40)
    assert state.history.loss == pytest.approx(losses, rel=1e-12)
    for found, expected in zip(fitted.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def run(opened: FeatureCache, epochs: int = 3, batch_norm: bool = True, block_bytes: int | None = None) -> State:
    state = start(network(batch_norm), RECIPE, generator(1))
    fitting, validation = (
        WindowSource([opened], part, SIZE, CPU, block_bytes) for part in ([(0, 0), (0, 1)], [(0, 2)])
    )
    fit(state, fitting, validation, RECIPE.model_copy(update={"epochs": epochs}), "fan")
    return state


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("block_bytes", [None, 500])
def test_the_same_seed_gives_the_same_bits(tmp_path: Path, block_bytes: int | None) -> None:
    opened = made_cache(tmp_path / "a.h5", [40, 30, 20])
    first, second = (run(opened, block_bytes=block_bytes) for _ in range(2))
    assert same_weights(first.network, second.network)
    assert first.history == second.history


@pytest.mark.parametrize("lengths", [[43, SIZE, 20], [SIZE, 43, 20]])
def test_a_clip_of_one_window_that_is_a_block_by_itself_is_normalised_with_its_neighbour(
    tmp_path: Path, lengths: list[int]
) -> None:
    state = run(made_cache(tmp_path / "a.h5", lengths), block_bytes=1)
    assert all(tensor.isfinite().all() for tensor in state.network.state_dict().values())
    windows = sum(lengths[:2]) - 2 * (SIZE - 1)
    source = WindowSource([made_cache(tmp_path / "b.h5", lengths)], [(0, 0), (0, 1)], SIZE, CPU, 1)
    assert sum(map(len, source.batches(16))) == windows


def test_a_fit_goes_on_where_a_state_ends(tmp_path: Path) -> None:
    opened = made_cache(tmp_path / "a.h5", [40, 30, 20])
    resumed = run(opened, epochs=1)
    fitting, validation = (WindowSource([opened], part, SIZE, CPU) for part in ([(0, 0), (0, 1)], [(0, 2)]))
    fit(resumed, fitting, validation, RECIPE, "fan")
    whole = run(opened)
    assert same_weights(resumed.network, whole.network)
    assert resumed.history == whole.history


def test_validation_loss_is_the_mean_error_in_evaluation_mode(tmp_path: Path) -> None:
    opened = made_cache(tmp_path / "a.h5", [40, 30, 2000])
    state = run(opened, epochs=2)
    windows = torch.from_numpy(opened.clip(2).reshape(-1)).unfold(0, MELS * SIZE, MELS)
    state.network.eval()
    with torch.no_grad():
        expected = ((state.network(windows).double() - windows.double()) ** 2).mean().item()
    assert state.history.validation_loss[-1] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("short", [1, 6, 12])
def test_one_long_recording_beside_short_ones_is_neither_held_out_whole_nor_left_out(short: int) -> None:
    entries = [Entry("hour.wav", "train", "", 10.0 * k, 10.0 * k + 10) for k in range(360)]
    entries += [Entry(f"{k}.wav", "train", "", 0.0, 10.0) for k in range(short)]
    for seed in range(20):
        chosen = held_out(entries, 0.1, seed)
        assert len(chosen) == round(0.1 * len(entries))
        assert sum(index < 360 for index in chosen) == 36


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.floats(0.01, 0.9), st.integers(0, 9))
def test_about_the_share_asked_for_is_held_out_however_long_the_recordings_are(
    lengths: list[int], fraction: float, seed: int
) -> None:
    entries = [
        Entry(f"{number}.wav", "train", "", 1.0 * place, 1.0 * place + 1)
        for number, length in enumerate(lengths)
        for place in range(length)
    ]
    total, chosen = len(entries), held_out(entries, fraction, seed)
    wanted = min(max(1, round(fraction * total)), total - 1)
    assert bool(chosen) == (total > 1)
    assert len(chosen) < total
    longest = min(2 * wanted, total // 2)
    short = [length for length in lengths if length <= longest]
    if total > 1:
        # Whole recordings come no nearer than half of the longest, or than the last one that has to stay.
        assert abs(len(chosen) - wanted) <= max(short, default=0) + 1
    for number, length in enumerate(lengths):
        places = [int(entries[index].start or 0) for index in chosen if entries[index].path == f"{number}.wav"]
        assert places == list(range(min(places, default=0), min(places, default=0) + len(places)))
        assert len(places) in (0, length) or length > longest


def test_the_loss_falls_and_validation_is_nan_without_held_out_clips(tmp_path: Path) -> None:
    opened = made_cache(tmp_path / "a.h5", [200], scale=5.0)
    recipe = RECIPE.model_copy(update={"epochs": 20, "learning_rate": 1e-2})
    state = start(network(), recipe, generator())
    fit(state, WindowSource([opened], [(0, 0)], SIZE, CPU), None, recipe, "fan")
    assert state.history.loss[-1] < 0.9 * state.history.loss[0]
    assert np.isnan(state.history.validation_loss).all()


def test_a_loss_that_is_not_finite_stops_the_fit(tmp_path: Path) -> None:
    opened = made_cache(tmp_path / "a.h5", [50], scale=1e30)
    state = start(network(), RECIPE, generator())
    with pytest.raises(InputError, match=r"fan/id_00: the training loss is (inf|nan) in epoch 1; set a smaller"):
        fit(state, WindowSource([opened], [(0, 0)], SIZE, CPU), None, RECIPE, "fan/id_00")


def test_validation_runs_in_batches_of_bounded_size(tmp_path: Path) -> None:
    opened = made_cache(tmp_path / "a.h5", [40, 3000])
    state = start(network(), RECIPE, generator())
    sizes: list[int] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if not module.training:
            sizes.append(len(inputs[0]))

    state.network.register_forward_pre_hook(note)
    fitting, validation = (WindowSource([opened], [(0, clip)], SIZE, CPU) for clip in (0, 1))
    fit(state, fitting, validation, RECIPE.model_copy(update={"epochs": 1}), "fan")
    assert max(sizes) == training.VALIDATION_BATCH
    assert sum(sizes) == 3000 - SIZE + 1


FAST = RECIPE.model_copy(update={"schedule": "fast", "epochs": 30})
"""Three passes."""


def far_from_zero(path: Path, lengths: Sequence[int]) -> FeatureCache:
    """Make a cache of frames about -50 dB, as log-mels are, that the values of a window have in unlike measure."""
    return cache.read(small_cache(path, noise(lengths, MELS, mean=[-60, -50, -40], spread=3.0)))


def test_a_fast_fit_against_a_plain_loop_on_centred_windows(tmp_path: Path) -> None:
    opened = far_from_zero(tmp_path / "a.h5", [43])
    source = double_source(opened)
    state = start(trainable(network().double(), source, FAST).double(), FAST, generator(7))
    fit(state, source, None, FAST, "fan")
    assert isinstance(state.network, Centred)
    fitted = state.network.plain()

    windows = torch.from_numpy(opened.clip(0).reshape(-1)).unfold(0, MELS * SIZE, MELS).double()
    mean, spread = windows.mean(dim=0), (windows - windows.mean(dim=0)).square().mean().sqrt()
    # As the package keeps them.
    mean, spread = mean.float().double(), spread.float().double()
    reference, shuffling = network().double(), generator(7)
    optimiser = torch.optim.Adam(reference.parameters(), lr=1.0, eps=1e-7)
    losses, seen = [], 0.0
    for _ in range(3):
        order, total = torch.randperm(40, generator=shuffling), 0.0
        for part in (order[:16], order[16:32], order[32:]):
            done = (seen + len(part) / 2) / 120
            optimiser.param_groups[0]["lr"] = 5e-3 * (done / 0.1 if done < 0.1 else (1 - done) / 0.9)
            seen += len(part)
            optimiser.zero_grad()
            centred = (windows[part] - mean) / spread
            loss = ((reference(centred) - centred) ** 2).mean() * spread**2
            torch.autograd.backward(loss)
            optimiser.step()
            total += loss.item() * len(part)
        losses.append(total / 40)
    assert state.history.loss == pytest.approx(losses, rel=1e-10)
    with torch.no_grad():
        expected = reference((windows - mean) / spread) * spread + mean
        torch.testing.assert_close(fitted(windows), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_plain_network_does_what_the_centred_one_does(tmp_path: Path, batch_norm: bool) -> None:
    source = WindowSource([far_from_zero(tmp_path / "a.h5", [200])], [(0, 0)], SIZE, CPU)
    state = start(trainable(network(batch_norm), source, FAST), FAST, generator())
    fit(state, source, None, FAST, "fan")
    centred = state.network.eval()
    assert isinstance(centred, Centred)
    windows = torch.cat(list(source.batches(50)))
    with torch.no_grad():
        expected = centred(windows)
        torch.testing.assert_close(centred.plain()(windows), expected, rtol=1e-5, atol=1e-4)
        # What it was made from is left as it was.
        assert torch.equal(centred(windows), expected)


def test_a_fast_fit_is_centred_on_the_windows_that_it_fits(tmp_path: Path) -> None:
    opened = far_from_zero(tmp_path / "a.h5", [40, 30, 20])
    for block_bytes in (None, 500):
        source = WindowSource([opened], [(0, 0), (0, 2)], SIZE, CPU, block_bytes)
        centred = trainable(network(), source, FAST)
        windows = torch.cat(list(source.batches(7))).double()
        assert isinstance(centred, Centred)
        torch.testing.assert_close(centred.mean.double(), windows.mean(dim=0), rtol=1e-6, atol=0)
        assert float(centred.spread) == pytest.approx((windows - windows.mean(dim=0)).square().mean().sqrt().item())
    assert isinstance(trainable(network(), source, RECIPE), Autoencoder)


def test_windows_that_are_all_the_same_have_no_spread_to_divide_by(tmp_path: Path) -> None:
    frames = np.full((50, MELS), -30, dtype=np.float32)
    with cache.read(small_cache(tmp_path / "a.h5", [frames])) as opened:
        source = WindowSource([opened], [(0, 0)], SIZE, CPU)
        state = start(trainable(network(), source, FAST), FAST, generator())
        fit(state, source, None, FAST, "fan")
    assert state.history.loss[-1] == pytest.approx(0, abs=1e-6)


def test_far_from_zero_a_tenth_of_the_steps_is_enough_where_the_windows_are_centred(tmp_path: Path) -> None:
    source = WindowSource([far_from_zero(tmp_path / "a.h5", [400])], [(0, 0)], SIZE, CPU)
    losses = {}
    for schedule in ("published", "fast"):
        recipe = RECIPE.model_copy(update={"schedule": schedule, "epochs": 30})
        state = start(trainable(network(), source, recipe), recipe, generator())
        fit(state, source, None, recipe, "fan")
        losses[len(state.history.loss)] = state.history.loss[-1]
    # The variance of the windows is 9 dB².
    assert losses[3] < 12 < losses[30]


@pytest.mark.parametrize(("share", "weight"), [(0.1, 0.1), (0.2, 0.05), (1.0, 0.01), (0.001, 1.0)])
def test_running_statistics_follow_as_much_faster_as_a_fast_fit_is(tmp_path: Path, share: float, weight: float) -> None:
    source = WindowSource([far_from_zero(tmp_path / "a.h5", [400])], [(0, 0)], SIZE, CPU)
    weights = {}
    for recipe in (RECIPE, FAST):
        prepared = trainable(network(batch_norm=True), source, recipe.model_copy(update={"fast_share": share}))
        weights[recipe.schedule] = [layer.momentum for layer in prepared.modules() if isinstance(layer, nn.BatchNorm1d)]
    assert weights == {"published": [0.01] * 3, "fast": pytest.approx([weight] * 3)}
