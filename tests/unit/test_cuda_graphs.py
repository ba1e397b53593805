"""A captured step replays what was done, where it was done, and nothing that only Python knew of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from offnote import cache, cuda_graphs, stacked, training
from offnote.cache import FeatureCache
from offnote.config import Training
from offnote.cuda_graphs import Captured
from offnote.models import Autoencoder
from offnote.stacked import fit_stacked
from offnote.training import State, WindowSource, fit, start, trainable
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.small import CPU, generator, noise, small_cache, small_network, small_training

MELS, SIZE = 3, 4
RECIPE = small_training(epochs=3, learning_rate=1e-2, validation=0.1)
LENGTHS = (40, 8, 33)


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What a CUDA graph keeps: the operations, and the very tensors that they read and wrote."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, result))
        return result

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, kept in self.done:
                for old, new in zip(tree_leaves(kept), tree_leaves(func(*args, **kwargs)), strict=True):
                    if isinstance(old, Tensor) and old is not new:
                        old.copy_(new)


def captured(work: Callable[[], None]) -> Callable[[], None]:
    """Capture on the CPU as :func:`offnote.device.captured` does on a GPU, runs before it and all."""
    for _ in range(3):
        work()
    with Operations() as operations:
        work()
    replay: Callable[[], None] = operations.replay
    return replay


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have steps captured on the CPU, too; each that is replayed adds to the list."""
    counted: list[int] = []

    def counting(work: Callable[[], None]) -> Callable[[], None]:
        replay = captured(work)

        def replay_and_count() -> None:
            counted.append(1)
            replay()

        return replay_and_count

    for module in (training, stacked):
        monkeypatch.setattr(module, "at_one_launch", lambda step, state, _: Captured(step, state, counting))
    return counted


def made_cache(path: Path, lengths: list[int]) -> FeatureCache:
    return cache.read(small_cache(path, noise(lengths, MELS)))


def network(batch_norm: bool, seed: int) -> Autoencoder:
    return small_network(MELS * SIZE, batch_norm=batch_norm, seed=seed)


def source(opened: FeatureCache) -> WindowSource:
    return WindowSource([opened], [(0, clip) for clip in range(len(opened))], SIZE, CPU)


def state_of(windows: WindowSource, recipe: Training, seed: int, *, batch_norm: bool) -> State:
    return start(trainable(network(batch_norm, seed), windows, recipe), recipe, generator(seed))


def assert_same(found: State, expected: State) -> None:
    assert found.history == expected.history
    assert found.optimiser.steps == expected.optimiser.steps
    tensors = zip(
        [*found.network.state_dict().values(), found.optimiser.mean, found.optimiser.square],
        [*expected.network.state_dict().values(), expected.optimiser.mean, expected.optimiser.square],
        strict=True,
    )
    assert all(torch.equal(one, other) for one, other in tensors)


RECIPES = [
    RECIPE,
    RECIPE.model_copy(update={"schedule": "fast", "epochs": 30}),
    RECIPE.model_copy(update={"precision": "bfloat16"}),
]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("recipe", RECIPES, ids=["published", "fast", "bfloat16"])
def test_a_fit_of_replayed_steps_comes_to_the_same_bits(
    tmp_path: Path, replayed: list[int], monkeypatch: pytest.MonkeyPatch, recipe: Training, *, batch_norm: bool
) -> None:
    windows = source(made_cache(tmp_path / "a.h5", list(LENGTHS)))
    found, expected = (state_of(windows, recipe, 1, batch_norm=batch_norm) for _ in range(2))
    fit(found, windows, windows, recipe, "fan")
    whole = windows.windows // recipe.batch_size
    # The first step of a fit is taken as it is, then replayed once to compare; those with fewer windows never are.
    assert len(replayed) == 3 * whole
    monkeypatch.setattr(training, "at_one_launch", cuda_graphs.at_one_launch)
    fit(expected, windows, windows, recipe, "fan")
    assert_same(found, expected)


@pytest.mark.parametrize("recipe", RECIPES, ids=["published", "fast", "bfloat16"])
def test_a_stack_of_replayed_steps_comes_to_the_same_bits(
    tmp_path: Path, replayed: list[int], monkeypatch: pytest.MonkeyPatch, recipe: Training
) -> None:
    caches = [made_cache(tmp_path / f"{number}.h5", [length + number for length in LENGTHS]) for number in range(3)]
    sources = [source(opened) for opened in caches]
    found, expected = (
        [state_of(windows, recipe, seed, batch_norm=True) for seed, windows in enumerate(sources)] for _ in range(2)
    )
    names, nothing = ["a", "b", "c"], [lambda _: None] * 3
    fit_stacked(found, sources, sources, recipe, names, nothing)
    assert len(replayed) == 3 * (sources[0].windows // recipe.batch_size)
    monkeypatch.setattr(stacked, "at_one_launch", cuda_graphs.at_one_launch)
    fit_stacked(expected, sources, sources, recipe, names, nothing)
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other)


def steps(step: Captured, total: Tensor) -> list[float]:
    """Take steps of three shapes, and return what they come to."""
    frames, sums = torch.arange(10.0), []
    for starts in ([1, 2], [3, 4], [5], [6, 7]):
        step(frames, torch.tensor(starts), torch.tensor([0.5]))
        sums.append(total.item())
    return sums


def test_what_python_alone_knows_is_noticed_and_the_step_not_replayed(caplog: pytest.LogCaptureFixture) -> None:
    total, calls = torch.zeros(()), [0]

    def forgetful(frames: Tensor, starts: Tensor, factors: Tensor) -> None:
        calls[0] += 1
        total.add_(frames[starts].sum() * factors[0] * calls[0])

    caplog.set_level(logging.INFO)
    # Once as it is, four times to capture it, and then as it is.
    expected = [1.5, 1.5 + 3.5 * 6, 1.5 + 3.5 * 6 + 2.5 * 7, 1.5 + 3.5 * 6 + 2.5 * 7 + 6.5 * 8]
    assert steps(Captured(forgetful, [total], capture=captured), total) == expected
    assert "replayed it comes to something else" in caplog.text


def test_a_step_that_cannot_be_captured_is_taken_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    total = torch.zeros(())

    def refuse(work: Callable[[], None]) -> Callable[[], None]:
        work()
        raise RuntimeError("operation not permitted when stream is capturing")

    def step(frames: Tensor, starts: Tensor, factors: Tensor) -> None:
        total.add_(frames[starts].sum() * factors[0])

    caplog.set_level(logging.INFO)
    assert steps(Captured(step, [total], capture=refuse), total) == [1.5, 5.0, 7.5, 14.0]
    assert "not permitted when stream is capturing" in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA GPU here")
def test_cuda_replays_a_fit_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    opened = made_cache(tmp_path / "a.h5", list(LENGTHS))
    windows = WindowSource([opened], [(0, clip) for clip in range(3)], SIZE, torch.device("cuda"))
    states = []
    for _ in range(2):
        trained = trainable(network(batch_norm=True, seed=1).to(windows.device), windows, RECIPE)
        states.append(start(trained, RECIPE, generator(1)))
        fit(states[-1], windows, windows, RECIPE, "fan")
        monkeypatch.setattr(training, "at_one_launch", lambda step, *_: step)
    assert_same(*states)
    assert "could not be captured" not in caplog.text
