"""The score from which a clip raises an alarm, chosen from normal clips of the training set alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """A threshold, and what it promises.

    Attributes
    ----------
    value : float
        A clip raises an alarm where its score is above it. NaN where there were no clips to choose it from.
    stated_rate : float
        Share of new normal clips that will be above it at most, on average over thresholds chosen so: a single one may
        do worse, the more so the fewer clips it was chosen from. NaN where nothing is known of that.
    clips : int
        Normal clips that it was chosen from.
    """

    value: float
    stated_rate: float
    clips: int


def conformal(held_out: FloatArray, rate: float) -> Threshold:
    """Choose a threshold from normal clips that the model was not trained on, whatever the distribution of scores.

    Of `n` held-out clips and one new normal clip every order is equally likely, as long as they are recorded alike. So
    the new one is above the `k`-th smallest of the held-out ones with a chance of at most ``(n + 1 - k) / (n + 1)``.

    Parameters
    ----------
    held_out : float64 array, (n,)
        Their scores.
    rate : float
        The false-alarm rate wanted, between 0 and 1. With fewer than ``1 / rate - 1`` clips it cannot be promised: the
        threshold is then the highest score, and the rate it states ``1 / (n + 1)``.

    References
    ----------
    Vovk, Gammerman and Shafer, *Algorithmic Learning in a Random World* (2005): split conformal prediction.

    Examples
    --------
    >>> conformal(np.arange(1.0, 20.0), 0.1)
    Threshold(value=18.0, stated_rate=0.1, clips=19)
    >>> conformal(np.array([1.0, 2.0, 3.0]), 0.1)
    Threshold(value=3.0, stated_rate=0.25, clips=3)
    """
    count = len(held_out)
    if count == 0:
        return Threshold(math.nan, math.nan, 0)
    # Rounded, as 20 times 0.9 is a hair above 18 in binary.
    place = min(count, max(1, math.ceil(round((count + 1) * (1.0 - rate), 9))))
    return Threshold(float(np.sort(held_out)[place - 1]), (count + 1 - place) / (count + 1), count)


def gamma(train: FloatArray, rate: float) -> Threshold:
    """Choose a threshold as the baselines of 2021 and 2022 do: by a gamma distribution of the training clips' scores.

    The clips are those that the model was trained on, which it knows better than any new one: more normal clips than
    `rate` will raise an alarm, so nothing is stated. From 2023 on, the baselines fit the losses of
    batches; here it is the clips' scores in every year, as it is they that are decided on.

    Parameters
    ----------
    train : float64 array, (clips,)
        Scores of the clips that the model was trained on.
    rate : float
        Share of the fitted distribution above the threshold; the baselines take 0.1.

    References
    ----------
    Kawaguchi et al., *Description and Discussion on DCASE 2021 Challenge Task 2* (2021), and its baseline.

    Examples
    --------
    >>> scores = np.random.default_rng(0).gamma(4.0, 2.0, 2000)
    >>> round(float(np.mean(scores > gamma(scores, 0.1).value)), 2)
    0.1
    """
    from scipy import stats

    if len(train) < 2 or np.ptp(train) == 0:
        return Threshold(math.nan, math.nan, len(train))
    # Sorted, as the last digits of the fit depend on the order.
    return Threshold(float(stats.gamma.ppf(1.0 - rate, *stats.gamma.fit(np.sort(train)))), math.nan, len(train))
