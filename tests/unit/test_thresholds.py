from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from offnote.thresholds import conformal, gamma
from scipy import stats


@pytest.mark.parametrize("count", [1, 5, 9, 10, 19, 64, 99])
@pytest.mark.parametrize("rate", [0.05, 0.1, 0.25])
def test_new_normal_clips_are_above_as_often_as_stated_and_no_more(count: int, rate: float) -> None:
    """Counted over 20,000 draws of held-out clips and a new one from a skewed distribution."""
    draws = np.random.default_rng(0).lognormal(size=(20_000, count + 1))
    thresholds = [conformal(draw[:-1], rate) for draw in draws]
    [stated] = {threshold.stated_rate for threshold in thresholds}
    realised = np.mean([draw[-1] > threshold.value for draw, threshold in zip(draws, thresholds, strict=True)])
    assert realised == pytest.approx(stated, abs=4 * math.sqrt(stated / 20_000))
    assert stated <= rate + 1e-12 or stated == 1 / (count + 1)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0.001, 0.999))
def test_the_threshold_is_the_lowest_that_keeps_its_rate(scores: list[float], rate: float) -> None:
    held_out = np.array(scores)
    found = conformal(held_out, rate)
    above = 1 + np.sum(np.sort(held_out)[::-1] > found.value)  # the new clip may be the highest of all
    assert found.clips == len(scores)
    assert above / (len(scores) + 1) <= found.stated_rate + 1e-12
    lower = held_out[held_out < found.value]
    if lower.size and found.stated_rate <= rate:
        promised = (1 + np.sum(held_out > lower.max())) / (len(scores) + 1)
        assert promised > rate - 1e-9


def test_the_gamma_rule_is_scipys() -> None:
    scores = np.random.default_rng(1).gamma(3.0, 1.5, 300) + 5.0
    shape, place, scale = stats.gamma.fit(np.sort(scores))
    assert gamma(scores, 0.1).value == stats.gamma.ppf(0.9, shape, loc=place, scale=scale)
    assert math.isnan(gamma(scores, 0.1).stated_rate)


@pytest.mark.parametrize("scores", [[], [1.0], [2.0, 2.0]])
def test_what_nothing_can_be_fitted_to_has_no_threshold(scores: list[float]) -> None:
    assert math.isnan(gamma(np.array(scores), 0.1).value)
    assert math.isnan(conformal(np.array([]), 0.1).value)
