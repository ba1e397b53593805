"""Networks trained at once come out as each by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from offnote import cache, stacked, training
from offnote.cache import FeatureCache
from offnote.config import Training, Window
from offnote.detectors import Scope, fit_scopes, load_detector, read_card
from offnote.models import Autoencoder
from offnote.stacked import fit_stacked
from offnote.training import State, WindowSource, fit, start, trainable

from tests.small import CPU, Killed, noise, small_cache, small_model, small_training

MELS, SIZE = 3, 4
RECIPE = small_training(epochs=3, learning_rate=1e-2, validation=0.1, stacked=True)
# The first has fewest windows, and so fewest steps; the third ends on a batch of one more than the others'.
LENGTHS = ((9, 12), (40, 8, 33), (35, 19))


@pytest.fixture
def caches(tmp_path: Path) -> Iterator[list[FeatureCache]]:
    opened = []
    for number, lengths in enumerate(LENGTHS):
        path = tmp_path / "fan" / f"id_0{number}.h5"
        opened.append(cache.read(small_cache(path, noise(lengths, MELS, number, mean=-30, spread=5))))
    yield opened
    for each in opened:
        each.close()


def source(opened: FeatureCache, block_bytes: int | None = None) -> WindowSource:
    made = WindowSource([opened], [(0, clip) for clip in range(len(opened))], SIZE, CPU, block_bytes)
    made.dtype = torch.float64
    return made


def states_of(
    sources: Sequence[WindowSource], recipe: Training, *, batch_norm: bool, dtype: torch.dtype = torch.float64
) -> list[State]:
    states = []
    for seed, windows in enumerate(sources):
        generator = torch.Generator().manual_seed(seed)
        network = Autoencoder(MELS * SIZE, small_model(batch_norm=batch_norm), generator)
        states.append(start(trainable(network, windows, recipe).to(dtype), recipe, generator))
    return states


def twin(state: State, recipe: Training) -> State:
    generator = torch.Generator()
    generator.set_state(state.generator.get_state())
    return start(deepcopy(state.network), recipe, generator)


def assert_alike(state: State, other: State) -> None:
    found, expected = state.network.state_dict(), other.network.state_dict()
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        # A bias before batch normalisation has no gradient but rounding, which Adam divides by about its own size.
        torch.testing.assert_close(found[name], tensor, rtol=1e-9, atol=1e-8)
    torch.testing.assert_close(state.optimiser.mean, other.optimiser.mean, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(state.optimiser.square, other.optimiser.square, rtol=1e-9, atol=1e-11)
    assert state.optimiser.steps == other.optimiser.steps
    assert state.history.loss == pytest.approx(other.history.loss, rel=1e-9)
    assert state.history.validation_loss == pytest.approx(other.history.validation_loss, rel=1e-9)
    assert torch.equal(state.generator.get_state(), other.generator.get_state())


def train_at_once(states: Sequence[State], sources: Sequence[WindowSource], recipe: Training) -> None:
    names = [f"{place}" for place in range(len(states))]
    fit_stacked(states, sources, sources, recipe, names, [lambda _: None] * len(states))


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("schedule", ["published", "fast"])
def test_each_network_is_the_twin_of_one_trained_by_itself(
    caches: list[FeatureCache], schedule: Any, *, batch_norm: bool
) -> None:
    recipe = RECIPE.model_copy(update={"schedule": schedule, "epochs": 3 if schedule == "published" else 20})
    sources = [source(opened) for opened in caches]
    states = states_of(sources, recipe, batch_norm=batch_norm)
    twins = [twin(state, recipe) for state in states]
    for other, windows in zip(twins, sources, strict=True):
        fit(other, windows, windows, recipe, "twin")
    train_at_once(states, sources, recipe)
    for state, other in zip(states, twins, strict=True):
        assert_alike(state, other)
    assert twins[0].optimiser.steps < twins[1].optimiser.steps


def test_networks_kept_after_different_epochs_catch_up(caches: list[FeatureCache]) -> None:
    sources = [source(opened) for opened in caches]
    states = states_of(sources, RECIPE, batch_norm=True)
    twins = [twin(state, RECIPE) for state in states]
    for other, windows in zip(twins, sources, strict=True):
        fit(other, windows, windows, RECIPE, "twin")
    for state, windows, epochs in zip(states, sources, (2, 1, 3), strict=True):
        fit(state, windows, windows, RECIPE.model_copy(update={"epochs": epochs}), "begun")
    train_at_once(states, sources, RECIPE)
    for state, other in zip(states, twins, strict=True):
        assert_alike(state, other)


@pytest.mark.parametrize("limit", ["streamed", "together"])
def test_what_does_not_fit_into_memory_is_trained_one_by_one(caches: list[FeatureCache], limit: str) -> None:
    recipe = RECIPE.model_copy(update={"memory": 1e-4 if limit == "together" else 1.0})
    sources = [source(opened, 100 if limit == "streamed" else None) for opened in caches]
    states = states_of(sources, recipe, batch_norm=False)
    twins = [twin(state, recipe) for state in states]
    for other, windows in zip(twins, sources, strict=True):
        fit(other, windows, windows, recipe, "twin")
    train_at_once(states, sources, recipe)
    for state, other in zip(states, twins, strict=True):
        expected = other.network.state_dict()
        assert all(torch.equal(tensor, expected[name]) for name, tensor in state.network.state_dict().items())


def fit_files(caches: Sequence[FeatureCache], folder: Path, kept: Path | None = None, **changes: Any) -> list[Path]:
    scopes = [
        Scope(f"fan/id_0{number}", 0, [opened.path], folder / f"{number}") for number, opened in enumerate(caches)
    ]
    fit_scopes(
        scopes,
        window=Window(frames=SIZE),
        model=small_model(batch_norm=False),
        training=RECIPE.model_copy(update=changes),
        seed=0,
        device="cpu",
        require_gpu=False,
        checkpoints=kept,
        checkpoint_seconds=0.0,
    )
    return [scope.directory for scope in scopes]


def test_the_files_are_those_of_separate_fits_but_for_rounding(caches: list[FeatureCache], tmp_path: Path) -> None:
    at_once = fit_files(caches, tmp_path / "at_once")
    by_themselves = fit_files(caches, tmp_path / "by_themselves", stacked=False)
    for one, other in zip(at_once, by_themselves, strict=True):
        found, expected = (load_detector(folder, CPU).score(caches[0].clip(0), [0.9]) for folder in (one, other))
        assert found == pytest.approx(expected, rel=1e-3)
        assert read_card(one).held_out == read_card(other).held_out
        assert read_card(one).loss == pytest.approx(read_card(other).loss, rel=1e-5)


def test_a_killed_fit_goes_on_to_the_same_bytes(
    caches: list[FeatureCache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def content(folders: Sequence[Path]) -> list[bytes]:
        return [path.read_bytes() for folder in folders for path in sorted(folder.iterdir())]

    undisturbed = content(fit_files(caches, tmp_path / "undisturbed"))
    finished = 0

    def finish(*arguments: Any) -> None:
        # In the second epoch, when the first network's is kept and the others' are not.
        nonlocal finished
        if finished == len(caches) + 1:
            raise Killed
        finished += 1
        training.finish_epoch(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(stacked, "finish_epoch", finish)
        with pytest.raises(Killed):
            fit_files(caches, tmp_path / "resumed", tmp_path / "kept")
    assert len(list((tmp_path / "kept").rglob("state.safetensors"))) == len(caches)
    assert content(fit_files(caches, tmp_path / "resumed", tmp_path / "kept")) == undisturbed


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("schedule", ["published", "fast"])
def test_products_in_bfloat16_leave_weights_in_single_precision_near_those_of_float32(
    caches: list[FeatureCache], batch_norm: bool, schedule: Literal["published", "fast"]
) -> None:
    found = {}
    for precision in ("float32", "tf32", "bfloat16"):
        for together in (False, True):
            recipe = RECIPE.model_copy(update={"precision": precision, "schedule": schedule})
            sources = [source(opened) for opened in caches]
            for each in sources:
                each.dtype = torch.float32
            states = states_of(sources, recipe, batch_norm=batch_norm, dtype=torch.float32)
            names, keep = list("abc"), [lambda _: None] * 3
            if together:
                fit_stacked(states, sources, [None] * 3, recipe, names, keep)
            else:
                for state, each, name in zip(states, sources, names, strict=True):
                    fit(state, each, None, recipe, name, keep[0])
            tensors = [tensor for state in states for tensor in state.network.parameters()]
            assert {tensor.dtype for tensor in tensors} == {torch.float32}
            found[precision, together] = (
                torch.cat([tensor.detach().flatten() for tensor in tensors]),
                [state.history.loss[-1] for state in states],
            )
    for together in (False, True):
        weights, losses = found["float32", together]
        # A CPU has no tf32.
        assert torch.equal(weights, found["tf32", together][0])
        rough, rough_losses = found["bfloat16", together]
        assert not torch.equal(weights, rough)
        assert rough_losses == pytest.approx(losses, rel=0.05)
