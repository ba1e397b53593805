"""Batches: the machines that one job works through, one after the other, and the paths and wildcards of such a job."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from offnote import synthesis, synthetic_challenge
from offnote.clips import Machine
from offnote.config import Demo


@dataclass(frozen=True)
class Batch:
    """The machines or scopes that one job works through, one after the other.

    Without members, a batch stands for a rule whose wildcards name the one machine.

    Attributes
    ----------
    name
        Name of the rule.
    known
        Wildcards whose values all members share.
    members
        The machines, or scopes; empty for a rule with wildcards.
    """

    name: str
    known: Mapping[str, str]
    members: tuple[Machine, ...] = ()

    @property
    def title(self) -> str:
        """Name the machines in a message of Snakemake's."""
        return ", ".join(map(str, self.members)) or "{wildcards.machine_type}/{wildcards.machine_id}"

    def all(self, pattern: str) -> list[str]:
        """Return the path pattern once for each member.

        Examples
        --------
        >>> Batch("train_0", {"run": "a"}, (Machine("fan", "id_00"),)).all("{run}/{machine_type}/{machine_id}/{trial}")
        ['a/fan/id_00/{trial}']
        """
        filled = _fill(pattern, self.known)
        return [_fill(filled, member._asdict()) for member in self.members] or [filled]

    def one(self, pattern: str) -> str:
        """Return the path pattern of what the whole batch shares, such as its log."""
        if not self.members:
            return _fill(pattern, self.known)
        return _fill(pattern, {**self.known, "machine_type": "batch", "machine_id": self.name})

    def of(self, function: Callable[[Mapping[str, str]], Any]) -> Callable[[Mapping[str, str]], Any]:
        """Return a function of a job's wildcards that calls `function` with them and with those the batch knows."""
        return lambda wildcards: function({**self.known, **dict(wildcards.items())})

    def sized(self, function: Callable[[Mapping[str, str], Any, int], int]) -> Callable[[Any, Any, int], int]:
        """Return a resource of a job: `function` of its wildcards, its input files, and how often it is tried."""
        return lambda wildcards, input, attempt: function({**self.known, **dict(wildcards.items())}, input, attempt)  # noqa: A006

    def each(self, function: Callable[[Mapping[str, str], Machine], Any]) -> Callable[[Mapping[str, str]], list[Any]]:
        """Return a function of the wildcards that lists `function` of the wildcards and each member in turn."""
        return self.of(lambda known: [function(known, member) for member in self.members or [_machine_in(known)]])

    def together(
        self, function: Callable[[Mapping[str, str], Machine], Iterable[str]]
    ) -> Callable[[Mapping[str, str]], list[str]]:
        """Return a function of the wildcards that joins the paths that `function` gives for each member."""
        listed = self.each(function)
        return lambda wildcards: [path for paths in listed(wildcards) for path in paths]


def demo_batches(demo: Demo, size: int) -> list[Batch]:
    """Divide the work of making the demo set into batches.

    One batch stands for all machines by its wildcards where their clips are called alike. In the shape of a year they
    are not: those of the evaluation set tell less, and those of some machine types.

    Examples
    --------
    >>> [batch.name for batch in demo_batches(Demo(), 20)], len(demo_batches(Demo(year=2022), 20))
    (['synthesise'], 3)
    """
    if demo.year is None:
        return [Batch("synthesise", {})]
    chunks = _chunks(synthetic_challenge.machines(demo), size)
    return [Batch(f"synthesise_{number}", {}, chunk) for number, chunk in enumerate(chunks)]


def demo_paths(demo: Demo, batch: Batch) -> list[str]:
    """Return the clips that a batch of the demo set makes, relative to the set's root."""
    if demo.year is None:
        return synthesis.machine_paths(demo, "{machine_type}", "{machine_id}")
    return [take.path for machine in batch.members for take in synthetic_challenge.takes(demo, machine)]


def in_batches(name: str, groups: Iterable[tuple[Mapping[str, str], Iterable[Machine]]], size: int) -> list[Batch]:
    """Divide the work of a rule into batches.

    Parameters
    ----------
    name
        Name of the rule.
    groups
        The members that may share a job, each group with the wildcards they have in common.
    size
        Members in a batch. With one, a single batch stands for all by its wildcards.

    Examples
    --------
    >>> fans = [Machine("fan", f"id_0{number}") for number in (0, 2, 4)]
    >>> [batch.name for batch in in_batches("train", [({"run": "a"}, fans)], 2)]
    ['train_0_0', 'train_0_1']
    >>> [batch.name for batch in in_batches("train", [({"run": "a"}, fans)], 1)]
    ['train']
    """
    if size == 1:
        return [Batch(name, {})]
    divided = []
    for place, (known, group) in enumerate(groups):
        divided += [
            Batch(f"{name}_{place}_{number}", known, chunk) for number, chunk in enumerate(_chunks(group, size))
        ]
    return divided


def _chunks(machines: Iterable[Machine], size: int) -> list[tuple[Machine, ...]]:
    members = tuple(machines)
    return [members[first : first + size] for first in range(0, len(members), size)]


def _fill(pattern: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        pattern = pattern.replace(f"{{{name}}}", value)
    return pattern


def _machine_in(wildcards: Mapping[str, str]) -> Machine:
    return Machine(wildcards["machine_type"], wildcards["machine_id"])
