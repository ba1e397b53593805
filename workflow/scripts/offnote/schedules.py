"""How long a fit goes on, and how its step size changes on the way: as published, or fast. No torch in here.

The fast schedule takes a share of the published epochs, a tenth or a fifth in the presets. It makes up for them in two
ways: the network is trained on windows that are centred (:class:`offnote.models.Centred`), so that it need not first
learn how loud the machine is; and the step size rises beyond the published one, then falls to nothing, so that the last
steps settle what constant ones would keep stirring.
"""

from __future__ import annotations

import math

from offnote.config import Training

WARM_UP = 0.1
"""Share of a fast fit in which the step size rises."""

LARGEST_STEP = 5.0
"""The largest step size of a fast fit, as a multiple of the published one."""


def epochs_of(settings: Training) -> int:
    """Return how many passes over the training windows a fit makes.

    Examples
    --------
    >>> recipe = {"epochs": 50, "batch_size": 512, "learning_rate": 1e-3, "adam_epsilon": 1e-7, "validation": 0.1}
    >>> epochs_of(Training(**recipe, fast_share=0.1)), epochs_of(Training(**recipe, fast_share=0.1, schedule="fast"))
    (50, 5)
    """
    if settings.schedule == "published":
        return settings.epochs
    # Rounded first: 0.07 times 100 is a hair above seven in binary.
    return max(1, math.ceil(round(settings.fast_share * settings.epochs, 6)))


def learning_rate(settings: Training, done: float) -> float:
    """Return the step size at a place in a fit.

    Parameters
    ----------
    settings : offnote.config.Training
        Schedule, and the published step size.
    done : float
        The share of the fit that is done, from 0 to 1.

    Examples
    --------
    >>> fast = Training(
    ...     epochs=50, batch_size=512, learning_rate=1e-3, adam_epsilon=1e-7, validation=0.1, fast_share=0.1,
    ...     schedule="fast",
    ... )
    >>> [round(learning_rate(fast, done), 5) for done in (0.0, 0.05, 0.1, 0.55, 1.0)]
    [0.0, 0.0025, 0.005, 0.0025, 0.0]
    """
    if settings.schedule == "published":
        return settings.learning_rate
    return LARGEST_STEP * settings.learning_rate * min(done / WARM_UP, (1 - done) / (1 - WARM_UP))
