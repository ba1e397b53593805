"""Areas under the ROC curve, exact with ties, and their bootstrap intervals.

AUC is the probability that an anomaly scores higher than a normal clip, ties counting half. pAUC is the area up to a
false positive rate, standardised after McClish (1989) so that chance is 0.5 and perfection 1: what scikit-learn's
``roc_auc_score(..., max_fpr=...)`` and the DCASE evaluators compute. A bootstrap resample is a weight for each clip,
the number of times it was drawn, so that all resamples are computed side by side from one sorting of the scores.
"""

from __future__ import annotations

import bisect
import math
import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
WeightArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

EPSILON = sys.float_info.epsilon
"""Stands for 0 where something is divided by it, as with the challenge's evaluators."""

UNUSUAL = 95.0
"""The percentile above which a clip counts as unusual."""

CELLS_AT_ONCE = 2**18
"""Clips times resamples held in one array: 2 MiB, so that memory stays bounded and the arrays stay in the cache."""


def auc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Return the area under the ROC curve: scikit-learn's ``roc_auc_score``.

    Parameters
    ----------
    labels : array, (clips,)
        1 or true for an anomaly, 0 or false for a normal clip.
    scores : array, (clips,)
        Higher = more anomalous.

    Raises
    ------
    ValueError
        If there is no normal or no anomalous clip.

    Examples
    --------
    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    return pauc(labels, scores, max_fpr=1.0)


def pauc(labels: npt.ArrayLike, scores: npt.ArrayLike, max_fpr: float) -> float:
    """Return the standardised area up to `max_fpr`: scikit-learn's ``roc_auc_score(..., max_fpr=max_fpr)``.

    Parameters and errors are those of :func:`auc`; `max_fpr` is above 0 and at most 1, and 1 gives the AUC.

    Examples
    --------
    >>> round(pauc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], max_fpr=0.5), 6)
    0.666667
    """
    # imported here: half a second that the modules which only rank clips do not owe
    from sklearn.metrics import roc_auc_score

    anomalous = np.asarray(labels, dtype=bool)
    _require_both(int(np.sum(~anomalous)), int(np.sum(anomalous)))
    return float(roc_auc_score(anomalous, np.asarray(scores, dtype=np.float64), max_fpr=max_fpr))


def roc(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the corners of the ROC curve: false and true positive rates, from (0, 0) to (1, 1).

    Clips of equal score are passed in one step, so a tie between the classes is a slanted line.

    Parameters and errors are those of :func:`auc`.

    Examples
    --------
    >>> [rates.tolist() for rates in roc([0, 0, 1, 1], [0.1, 0.4, 0.4, 0.8])]
    [[0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0]]
    """
    anomalous = np.asarray(labels, dtype=bool)
    exact = np.asarray(scores, dtype=np.float64)
    _require_both(int((~anomalous).sum()), int(anomalous.sum()))
    thresholds = np.unique(exact)[::-1]
    rates = [_count_from(group, thresholds) / len(group) for group in (exact[~anomalous], exact[anomalous])]
    return np.r_[0.0, rates[0]], np.r_[0.0, rates[1]]


def precision_recall_f1(anomalous: BoolArray, decisions: BoolArray) -> tuple[float, float, float]:
    """Return precision, recall and F1 of decisions, 0 where there is nothing to divide by.

    Parameters
    ----------
    anomalous, decisions : bool array, (clips,)

    Examples
    --------
    >>> precision_recall_f1(np.array([False, False, True, True]), np.array([False, True, False, True]))
    (0.5, 0.5, 0.5)
    """
    hits = int(np.sum(anomalous & decisions))
    precision = hits / max(int(decisions.sum()), EPSILON)
    recall = hits / max(int(anomalous.sum()), EPSILON)
    return precision, recall, 2.0 * precision * recall / max(precision + recall, EPSILON)


def bootstrap(
    normal_scores: npt.ArrayLike,
    anomaly_scores: npt.ArrayLike,
    resamples: int,
    max_fpr: float,
    seed: int,
) -> tuple[FloatArray, FloatArray]:
    """Return the mean AUC and pAUC over the trials, for every bootstrap resample of the clips.

    Normal and anomalous clips are drawn apart, so their numbers stay. All trials see the same draw: what varies is
    which clips were recorded, not the models. The same seed gives the same resamples.

    Parameters
    ----------
    normal_scores : array, (trials, normal clips)
    anomaly_scores : array, (trials, anomalous clips)
    resamples : int
    max_fpr : float
        As in :func:`pauc`.
    seed : int
        Zero or more.

    Returns
    -------
    tuple of two float64 arrays, (resamples,)
        AUC and pAUC.

    Raises
    ------
    ValueError
        If there is no normal or no anomalous clip.

    Examples
    --------
    >>> areas, _ = bootstrap([[0.1, 0.2, 0.3]], [[0.4, 0.5]], resamples=3, max_fpr=0.1, seed=0)
    >>> areas.tolist()
    [1.0, 1.0, 1.0]
    """
    normal = np.asarray(normal_scores, dtype=np.float64)
    anomaly = np.asarray(anomaly_scores, dtype=np.float64)
    _require_both(normal.shape[1], anomaly.shape[1])
    samples = np.empty((2, resamples))
    done = 0
    for normal_weights, anomaly_weights in draws(normal.shape[1], anomaly.shape[1], resamples, seed):
        trials = [
            weighted_areas(*scores, normal_weights, anomaly_weights, max_fpr)
            for scores in zip(normal, anomaly, strict=True)
        ]
        width = normal_weights.shape[1]
        samples[:, done : done + width] = np.mean(trials, axis=0)
        done += width
    return samples[0], samples[1]


def draws(normal: int, anomaly: int, resamples: int, seed: int) -> Iterator[tuple[WeightArray, WeightArray]]:
    """Yield stratified bootstrap resamples in blocks: how often each clip was drawn.

    Parameters
    ----------
    normal, anomaly : int
        Numbers of clips.
    resamples, seed : int
        As in :func:`bootstrap`.

    Yields
    ------
    tuple of two int64 arrays, (normal, block) and (anomaly, block)
        Each column is one resample and sums to the number of clips.

    Examples
    --------
    >>> [(a.sum(axis=0).tolist(), b.shape) for a, b in draws(3, 2, resamples=2, seed=0)]
    [([3, 3], (2, 2))]
    """
    normal_generator, anomaly_generator = np.random.default_rng(seed).spawn(2)
    block = max(1, CELLS_AT_ONCE // (normal + anomaly))
    for first in range(0, resamples, block):
        width = min(block, resamples - first)
        yield _weights(normal_generator, normal, width), _weights(anomaly_generator, anomaly, width)


def weighted_areas(
    normal_scores: FloatArray,
    anomaly_scores: FloatArray,
    normal_weights: WeightArray,
    anomaly_weights: WeightArray,
    max_fpr: float,
) -> tuple[FloatArray, FloatArray]:
    """Return AUC and pAUC for every column of clip weights.

    The area is summed over the distinct scores of normal clips, from the highest down. Each is a step of the ROC curve
    as wide as the weight of its normal clips and as high as the weight of the anomalies above it; anomalies of exactly
    that score make it rise linearly across the step.

    Parameters
    ----------
    normal_scores : float64 array, (normal,)
    anomaly_scores : float64 array, (anomaly,)
    normal_weights : int64 array, (normal, resamples)
    anomaly_weights : int64 array, (anomaly, resamples)
        How often each clip counts; every column has a positive sum.
    max_fpr : float
        As in :func:`pauc`.

    Returns
    -------
    tuple of two float64 arrays, (resamples,)
        AUC and pAUC.

    Raises
    ------
    ValueError
        If there is no normal or no anomalous clip.

    Examples
    --------
    >>> import numpy as np
    >>> weights = np.array([[2], [0]]), np.array([[1], [1]])
    >>> weighted_areas(np.array([1.0, 5.0]), np.array([0.0, 2.0]), *weights, max_fpr=1.0)[0].tolist()
    [0.5]
    """
    _require_both(len(normal_scores), len(anomaly_scores))
    descending = np.argsort(-normal_scores, kind="stable")
    levels, starts = np.unique(-normal_scores[descending], return_index=True)
    steps = np.add.reduceat(normal_weights[descending], starts, axis=0)
    above, tied = _anomalies_beside(-levels, anomaly_scores, anomaly_weights)
    false_positives = steps.sum(axis=0)
    rectangle = false_positives * anomaly_weights.sum(axis=0)
    whole = (steps * (above + tied / 2)).sum(axis=0) / rectangle
    if max_fpr == 1.0:
        return whole, whole
    widths = np.clip(max_fpr * false_positives - (np.cumsum(steps, axis=0) - steps), 0.0, steps)
    taken = np.divide(widths, steps, out=np.zeros_like(widths), where=steps > 0)
    partial = (widths * (above + taken * tied / 2)).sum(axis=0) / rectangle
    return whole, _standardised(partial, max_fpr)


def interval(samples: npt.ArrayLike, confidence: float) -> tuple[float, float]:
    """Return the percentile interval of bootstrap samples: as much probability left out below as above.

    Parameters
    ----------
    samples : array, (resamples,)
        At least one.
    confidence : float
        Coverage, between 0 and 1.

    Examples
    --------
    >>> interval(range(101), confidence=0.5)
    (25.0, 75.0)
    """
    outside = (1.0 - confidence) / 2.0
    low, high = np.quantile(np.asarray(samples, dtype=np.float64), [outside, 1.0 - outside])
    return float(low), float(high)


def percentiles(scores: npt.ArrayLike, reference: npt.ArrayLike) -> FloatArray:
    """Return the place of each score among reference scores: the percentage of them below it, ties counting half.

    Parameters
    ----------
    scores : array, (clips,)
    reference : array, (reference clips,)
        Scores of normal clips that the detector has not seen. Where there are none the percentiles are NaN.

    Returns
    -------
    float64 array, (clips,)
        Between 0 and 100, in steps of 50 divided by the number of reference clips.

    Examples
    --------
    >>> percentiles([0.5, 2.0, 9.0], [1.0, 2.0, 3.0, 4.0]).tolist()
    [0.0, 37.5, 100.0]
    """
    exact, ranked = np.asarray(scores, dtype=np.float64), np.sort(np.asarray(reference, dtype=np.float64))
    if len(ranked) == 0:
        return np.full(len(exact), np.nan)
    places = np.searchsorted(ranked, exact, side="left") + np.searchsorted(ranked, exact, side="right")
    return 50.0 * places / len(ranked)


def deviations(scores: npt.ArrayLike, reference: npt.ArrayLike) -> FloatArray:
    """Return how far each score lies above the median of reference scores, in units of their spread.

    The spread is 1.4826 times the median absolute deviation, which for a normal distribution is its standard deviation
    and which a few odd reference clips do not inflate; where more than half of the scores are equal it is their
    standard deviation.

    Parameters
    ----------
    scores : array, (clips,)
    reference : array, (reference clips,)
        Scores of normal clips. Where they do not spread at all the deviations are NaN.

    Examples
    --------
    >>> deviations([2.0, 4.9652], [0.0, 1.0, 2.0, 3.0, 90.0]).round(6).tolist()
    [0.0, 2.0]
    """
    exact, known = np.asarray(scores, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if len(known) == 0:
        return np.full(len(exact), np.nan)
    centre = np.median(known)
    spread = 1.4826 * np.median(np.abs(known - centre)) or known.std()
    return (exact - centre) / spread if spread > 0 else np.full(len(exact), np.nan)


def unusual(percentiles: FloatArray) -> dict[str, float]:
    """Return the median percentile of a machine's clips and the share above the 95 % point; nothing without any.

    Examples
    --------
    >>> unusual(np.array([10.0, 50.0, 96.0, 100.0]))
    {'median_percentile': 73.0, 'share_above_95': 0.5}
    """
    if percentiles.size == 0 or np.isnan(percentiles).any():
        return {}
    share = float(np.mean(percentiles > UNUSUAL))
    return {"median_percentile": float(np.median(percentiles)), "share_above_95": share}


def healthy_share(held_out: int, new: int) -> float:
    """Return the share of new clips above the 95 % point that 19 of 20 unchanged machines do not exceed.

    A clip lies above the point when fewer than `over` held-out clips lie above it. Where new clips are like the
    held-out ones, every order of all of them is equally likely, and at least `count` new clips lie above the point when
    fewer than `over` of the highest ``count + over - 1`` clips are held-out ones: a hypergeometric chance.
    """
    if held_out == 0:
        return math.nan
    from scipy import stats

    over = held_out - math.floor(held_out * UNUSUAL / 100.0)

    def chance(count: int) -> float:
        return float(stats.hypergeom.cdf(over - 1, held_out + new, held_out, count + over - 1))

    surprising = bisect.bisect_left(range(new + 1), True, key=lambda count: chance(count) <= 1.0 - UNUSUAL / 100.0)
    return (surprising - 1) / new


def downwards(*values: float) -> tuple[float, ...]:
    """Return a sort key that puts high values first and missing ones last.

    Examples
    --------
    >>> sorted([1.0, math.nan, 3.0], key=downwards)
    [3.0, 1.0, nan]
    """
    return tuple(math.inf if math.isnan(value) else -value for value in values)


def _require_both(normal: int, anomaly: int) -> None:
    if normal == 0 or anomaly == 0:
        raise ValueError(f"AUC needs normal and anomalous clips, but there are {normal} and {anomaly}")


def _count_from(scores: FloatArray, thresholds: FloatArray) -> npt.NDArray[np.intp]:
    """Return how many scores reach each threshold."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")


def _weights(generator: np.random.Generator, clips: int, resamples: int) -> WeightArray:
    drawn = generator.integers(clips, size=(resamples, clips))
    cells = drawn * resamples + np.arange(resamples)[:, None]
    return np.bincount(cells.ravel(), minlength=clips * resamples).reshape(clips, resamples)


def _anomalies_beside(levels: FloatArray, scores: FloatArray, weights: WeightArray) -> tuple[WeightArray, WeightArray]:
    """Return the weight of the anomalies above each level, and of those exactly at it, (levels, resamples) each."""
    ascending = np.argsort(scores, kind="stable")
    ranked = scores[ascending]
    up_to = np.zeros((len(scores) + 1, weights.shape[1]), dtype=np.int64)
    np.cumsum(weights[ascending], axis=0, out=up_to[1:])
    below = up_to[np.searchsorted(ranked, levels, side="left")]
    not_above = up_to[np.searchsorted(ranked, levels, side="right")]
    return up_to[-1] - not_above, not_above - below


def _standardised(partial: FloatArray, max_fpr: float) -> FloatArray:
    chance = max_fpr**2 / 2.0
    return 0.5 * (1.0 + (partial - chance) / (max_fpr - chance))
