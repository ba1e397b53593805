"""Costs of two sides that take turns, and the ratio between them: the median over repetitions, and its spread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

Costs = Sequence[float]


@dataclass(frozen=True)
class Goal:
    """What the middle figure of a row is to reach.

    Examples
    --------
    >>> Goal("at least", 4.0).is_reached(4.2), str(Goal("at most", 1.5))
    (True, 'at most 1.5')
    """

    kind: Literal["at least", "at most"]
    value: float

    def is_reached(self, value: float) -> bool:
        """Tell whether `value` is as good as wished."""
        return value >= self.value if self.kind == "at least" else value <= self.value

    def __str__(self) -> str:
        return f"{self.kind} {self.value:g}"


@dataclass(frozen=True)
class Figure:
    """A figure of several repetitions.

    Attributes
    ----------
    middle, lowest, highest : float
        Median and extremes.
    """

    middle: float
    lowest: float
    highest: float


def summarised(values: Sequence[float]) -> Figure:
    """Return median and extremes: of a handful of repetitions on a busy machine they say more than a deviation.

    Raises
    ------
    ValueError
        There is no value.

    Examples
    --------
    >>> summarised([2.0, 9.0, 3.0])
    Figure(middle=3.0, lowest=2.0, highest=9.0)
    """
    if not values:
        raise ValueError("a figure needs at least one repetition")
    return Figure(median(values), min(values), max(values))


@dataclass(frozen=True)
class Row:
    """A row of the table: what something costs offnote, and what it is compared with.

    Attributes
    ----------
    name : str
        Of the row, for programs: one of those that ``--only`` takes, or, of a row that is measured along with such a
        one, ``fast`` (with ``job``) or ``floor`` (with ``features``).
    what : str
        What was measured, for a reader.
    unit : str
        Of the costs: ``s``, ``ms/clip``, ``MiB``.
    costs : sequence of float
        Of offnote, a value each repetition.
    other : str
        What it is compared with; empty where the cost itself is the figure.
    other_costs : sequence of float
        Its costs, each of the same repetition as the one in the same place of `costs`.
    gain : bool
        True: the ratio says how many times cheaper offnote is than the other. False: how many times dearer.
    goal : Goal
        For the median of the ratio, or of the cost where nothing is compared.
    """

    name: str
    what: str
    unit: str
    costs: Costs
    other: str
    other_costs: Costs
    gain: bool
    goal: Goal

    @property
    def figure(self) -> Figure:
        """The ratio over repetitions, each of two costs of one repetition; or the cost.

        Examples
        --------
        >>> Row("job", "whole job", "s", [1.0, 2.0], "opponent", [4.0, 10.0], True, Goal("at least", 4)).figure
        Figure(middle=4.5, lowest=4.0, highest=5.0)
        """
        if not self.other:
            return summarised(self.costs)
        pairs = zip(self.costs, self.other_costs, strict=True)
        return summarised([theirs / ours if self.gain else ours / theirs for ours, theirs in pairs])

    @property
    def reached(self) -> bool:
        """Whether the median reaches the goal."""
        return self.goal.is_reached(self.figure.middle)


def in_turn(repetitions: int, *sides: Callable[[], float]) -> list[list[float]]:
    """Measure all sides once in each repetition, the other way round in every second one, so that no side gains.

    Parameters
    ----------
    repetitions : int
        How many times.
    *sides : callable
        Each does its work and returns its cost.

    Returns
    -------
    list of list of float
        The costs of each side.

    Examples
    --------
    >>> calls = iter(range(4))
    >>> in_turn(2, lambda: next(calls), lambda: 10 + next(calls))
    [[0, 3], [11, 12]]
    """
    costs: list[list[float]] = [[] for _ in sides]
    for repetition in range(repetitions):
        order = range(len(sides)) if repetition % 2 == 0 else reversed(range(len(sides)))
        for number in order:
            costs[number].append(sides[number]())
    return costs
