from __future__ import annotations

import tracemalloc
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from offnote import metrics
from sklearn.metrics import roc_auc_score, roc_curve

TIED = hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(-3, 3).map(float))
UNTIED = hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e6, 1e6))
SCORES = TIED | UNTIED
RATES = st.sampled_from([0.05, 0.1, 0.25, 1 / 3, 0.5, 1.0]) | st.floats(0.01, 1.0)


def both(normal: np.ndarray, anomaly: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels = np.r_[np.zeros(len(normal), dtype=int), np.ones(len(anomaly), dtype=int)]
    return labels, np.concatenate([normal, anomaly])


@given(SCORES, SCORES, RATES)
def test_areas_are_those_of_scikit_learn(normal: np.ndarray, anomaly: np.ndarray, max_fpr: float) -> None:
    labels, scores = both(normal, anomaly)
    assert metrics.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    expected = roc_auc_score(labels, scores, max_fpr=max_fpr)
    assert metrics.pauc(labels, scores, max_fpr) == pytest.approx(expected, abs=1e-12)


@given(SCORES, SCORES, st.randoms(use_true_random=False))
def test_the_order_of_clips_does_not_matter(normal: np.ndarray, anomaly: np.ndarray, random: Random) -> None:
    labels, scores = both(normal, anomaly)
    order = random.sample(range(len(labels)), len(labels))
    assert metrics.pauc(labels[order], scores[order], 0.1) == metrics.pauc(labels, scores, 0.1)


@settings(max_examples=40)
@given(SCORES, SCORES, RATES, st.integers(0, 2**63 - 1))
def test_every_resample_has_the_areas_of_scikit_learn(
    normal: np.ndarray, anomaly: np.ndarray, max_fpr: float, seed: int
) -> None:
    labels, scores = both(normal, anomaly)
    aucs, paucs = metrics.bootstrap([normal], [anomaly], resamples=5, max_fpr=max_fpr, seed=seed)
    ((normal_weights, anomaly_weights),) = metrics.draws(len(normal), len(anomaly), resamples=5, seed=seed)
    for resample in range(5):
        # repeating clips, rather than passing sample weights, is the definition of a resample
        repeats = np.concatenate([normal_weights[:, resample], anomaly_weights[:, resample]])
        drawn = np.repeat(labels, repeats), np.repeat(scores, repeats)
        assert aucs[resample] == pytest.approx(roc_auc_score(*drawn), abs=1e-12)
        assert paucs[resample] == pytest.approx(roc_auc_score(*drawn, max_fpr=max_fpr), abs=1e-12)


def test_trials_share_the_draw_and_are_averaged() -> None:
    generator = np.random.default_rng(1)
    normal, anomaly = generator.normal(size=(3, 20)), generator.normal(1.0, size=(3, 15))
    apart = [metrics.bootstrap([n], [a], 50, 0.1, seed=4) for n, a in zip(normal, anomaly, strict=True)]
    together = metrics.bootstrap(normal, anomaly, 50, 0.1, seed=4)
    np.testing.assert_allclose(together, np.mean(apart, axis=0), rtol=0, atol=1e-15)


def test_draws_keep_the_numbers_of_both_classes_and_reach_every_clip() -> None:
    ((normal, anomaly),) = metrics.draws(8, 5, resamples=400, seed=0)
    assert (normal.sum(axis=0) == 8).all()
    assert (anomaly.sum(axis=0) == 5).all()
    # a clip is drawn once on average: its mean over 400 resamples has a standard error below 0.05
    assert abs(normal.mean(axis=1) - 1).max() < 0.25
    assert abs(anomaly.mean(axis=1) - 1).max() < 0.25


def test_normal_and_anomalous_clips_are_drawn_independently() -> None:
    ((normal, anomaly),) = metrics.draws(50, 50, resamples=200, seed=0)
    # of 10,000 independent pairs the correlation has a standard error of 0.01
    assert abs(np.corrcoef(normal.ravel(), anomaly.ravel())[0, 1]) < 0.04


def test_the_number_of_resamples_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    normal, anomaly = np.random.default_rng(0).normal(size=(2, 2, 7))
    at_once = metrics.bootstrap(normal, anomaly, 23, 0.2, seed=9)
    monkeypatch.setattr(metrics, "CELLS_AT_ONCE", 50)
    np.testing.assert_array_equal(metrics.bootstrap(normal, anomaly, 23, 0.2, seed=9), at_once)


def test_the_seed_decides_the_resamples() -> None:
    normal, anomaly = np.random.default_rng(0).normal(size=(2, 1, 30))
    first, again, other = (metrics.bootstrap(normal, anomaly, 20, 0.1, seed=seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_memory_stays_bounded_for_many_clips() -> None:
    normal, anomaly = np.random.default_rng(0).normal(size=(2, 1, 5000))
    tracemalloc.start()
    metrics.bootstrap(normal, anomaly, 200, 0.1, seed=0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 200 resamples of 10,000 clips at once would be 16 MB for each of the arrays
    assert peak < 32 * 2**20


def test_the_interval_covers_the_true_area_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    truth = 0.7602499389  # of two unit normal distributions one standard deviation apart: Phi(1 / sqrt(2))
    covered = 0
    for seed in range(200):
        normal, anomaly = generator.normal(0, size=(1, 50)), generator.normal(1, size=(1, 50))
        samples, _ = metrics.bootstrap(normal, anomaly, 200, 0.1, seed)
        low, high = metrics.interval(samples, 0.9)
        covered += low <= truth <= high
    # binomial: 180 +- 4.2 expected; a percentile interval of 50 clips is known to be a little narrow
    assert 165 <= covered <= 194


def test_no_resamples_give_empty_arrays() -> None:
    aucs, paucs = metrics.bootstrap([[0.0]], [[1.0]], 0, 0.1, seed=0)
    assert aucs.shape == paucs.shape == (0,)


@given(SCORES, SCORES)
def test_roc_is_the_curve_of_scikit_learn(normal: np.ndarray, anomaly: np.ndarray) -> None:
    labels, scores = both(normal, anomaly)
    false_positives, true_positives, _ = roc_curve(labels, scores, drop_intermediate=False)
    found = metrics.roc(labels, scores)
    np.testing.assert_allclose(found[0], false_positives, atol=1e-15)
    np.testing.assert_allclose(found[1], true_positives, atol=1e-15)


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], []])
def test_one_class_has_no_area(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="needs normal and anomalous clips"):
        metrics.auc(labels, [1.0] * len(labels))
    with pytest.raises(ValueError, match="needs normal and anomalous clips"):
        metrics.roc(labels, [1.0] * len(labels))
    normal, anomaly = [[1.0] * labels.count(0)], [[1.0] * labels.count(1)]
    with pytest.raises(ValueError, match="needs normal and anomalous clips"):
        metrics.bootstrap(normal, anomaly, 3, 0.1, seed=0)


@given(SCORES, SCORES)
def test_percentiles_are_a_count(scores: np.ndarray, reference: np.ndarray) -> None:
    counted = [100 * np.mean([(r < s) + (r == s) / 2 for r in reference]) for s in scores]
    np.testing.assert_allclose(metrics.percentiles(scores, reference), counted, atol=1e-10)


@given(UNTIED, hnp.arrays(np.float64, st.integers(3, 30), elements=st.integers(-50, 50).map(float), unique=True))
def test_deviations_follow_the_scale_of_the_reference(scores: np.ndarray, reference: np.ndarray) -> None:
    plain = metrics.deviations(scores, reference)
    np.testing.assert_allclose(metrics.deviations(4 * scores + 16, 4 * reference + 16), plain, rtol=1e-9, atol=1e-9)
    assert metrics.deviations([np.median(reference)], reference) == [0.0]


def test_deviations_without_a_median_spread_use_the_standard_deviation() -> None:
    assert metrics.deviations([6.0], [0.0, 0.0, 0.0, 4.0]) == pytest.approx([6.0 / np.std([0, 0, 0, 4])])


@pytest.mark.parametrize("reference", [[], [3.0], [3.0, 3.0]])
def test_a_reference_without_spread_gives_no_deviation(reference: list[float]) -> None:
    assert np.isnan(metrics.deviations([1.0, 3.0], reference)).all()


def test_no_reference_gives_no_percentile() -> None:
    assert np.isnan(metrics.percentiles([1.0, 2.0], [])).all()
