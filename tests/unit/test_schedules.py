from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from offnote.config import Training
from offnote.schedules import epochs_of, learning_rate


def recipe(schedule: str, epochs: int = 50, share: float = 0.1) -> Training:
    published = Training(
        epochs=epochs, batch_size=512, learning_rate=2e-3, adam_epsilon=1e-7, validation=0.1, fast_share=share
    )
    return published.model_copy(update={"schedule": schedule})


@pytest.mark.parametrize(
    ("share", "epochs", "passes"),
    [
        (1e-9, 1, 1),
        (0.1, 1, 1),
        (0.1, 10, 1),
        (0.1, 11, 2),
        (0.1, 50, 5),
        (0.1, 30, 3),
        (0.07, 100, 7),
        (0.2, 100, 20),
        (1.0, 9, 9),
    ],
)
def test_fast_takes_its_share_of_the_epochs_and_never_none(share: float, epochs: int, passes: int) -> None:
    assert epochs_of(recipe("fast", epochs, share)) == passes
    assert epochs_of(recipe("published", epochs, share)) == epochs


@given(st.floats(0, 1))
def test_the_published_rate_is_constant_and_the_fast_one_at_most_five_times_that(done: float) -> None:
    assert learning_rate(recipe("published"), done) == 2e-3
    assert 0 <= learning_rate(recipe("fast"), done) <= 1e-2


def test_the_fast_rate_rises_once_and_falls_once() -> None:
    rates = [learning_rate(recipe("fast"), step / 1000) for step in range(1001)]
    top = rates.index(max(rates))
    assert rates[top] == pytest.approx(1e-2)
    assert all(first < second for first, second in pairwise(rates[: top + 1]))
    assert all(first > second for first, second in pairwise(rates[top:]))
    assert rates[0] == rates[-1] == 0.0
