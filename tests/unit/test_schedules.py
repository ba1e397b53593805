from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from offnote.config import Training
from offnote.schedules import epochs_of, learning_rate


def recipe(schedule: str, epochs: int = 50) -> Training:
    published = Training(epochs=epochs, batch_size=512, learning_rate=2e-3, adam_epsilon=1e-7, validation=0.1)
    return published.model_copy(update={"schedule": schedule})


@pytest.mark.parametrize(("epochs", "passes"), [(1, 1), (9, 1), (10, 1), (11, 2), (50, 5), (100, 10), (1000, 100)])
def test_fast_takes_a_tenth_of_the_epochs_and_never_none(epochs: int, passes: int) -> None:
    assert epochs_of(recipe("fast", epochs)) == passes
    assert epochs_of(recipe("published", epochs)) == epochs


@given(st.floats(0, 1))
def test_the_published_rate_is_constant_and_the_fast_one_stays_below_it(done: float) -> None:
    assert learning_rate(recipe("published"), done) == 2e-3
    assert 0 <= learning_rate(recipe("fast"), done) <= 2e-3


def test_the_fast_rate_rises_once_and_falls_once() -> None:
    rates = [learning_rate(recipe("fast"), step / 1000) for step in range(1001)]
    top = rates.index(max(rates))
    assert rates[top] == pytest.approx(2e-3)
    assert all(first < second for first, second in pairwise(rates[: top + 1]))
    assert all(first > second for first, second in pairwise(rates[top:]))
    assert rates[0] == rates[-1] == 0.0
