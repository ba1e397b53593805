"""A rehearsal of the evaluation phase: machines whose labels are known play those of the evaluation set.

Each machine of the evaluation set is played by one of the development set, of its own type where there is one, else by
all of them in turn. Its clips are renamed as the evaluation set's are, so that nothing tells their labels: the order of
their numbers is drawn at random, with the year for a seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from offnote.challenge import Challenge, require_set
from offnote.clips import Clip, Machine
from offnote.meta import package_of

SUFFIX = ".rehearsal"
"""What the name of a dataset ends with that is played by another."""

Role = tuple[Clip, Clip]
"""A clip as it is called in the rehearsal, and the clip that it is."""


def cast(challenge: Challenge, development: Mapping[Machine, Sequence[Clip]]) -> list[Role]:
    """Give every machine of the evaluation set the clips of one of the development set.

    Parameters
    ----------
    challenge
        The year.
    development
        The machines of the development set, at least one, with their clips.

    Raises
    ------
    InputError
        The year's file does not say how test clips are called.

    Examples
    --------
    >>> from offnote.challenge import load_challenge
    >>> clip = Clip("fan/test/anomaly_id_00_00000007.wav", "fan", "id_00", "test", "anomaly")
    >>> role, played = cast(load_challenge(2020), {clip.machine: [clip]})[0]
    >>> role.path, role.label, played.label
    ('ToyCar/test/id_05_00000000.wav', '', 'anomaly')
    """
    require_set(challenge, "evaluation")
    places: dict[str, int] = {}
    roles: list[Role] = []
    for machine in challenge.machines_of("evaluation"):
        alike = [name for name in development if name.machine_type == machine.machine_type] or list(development)
        group = alike[0].machine_type if len(alike) < len(development) else ""
        place = places[group] = places.get(group, -1) + 1
        roles += _played(machine, development[alike[place % len(alike)]], challenge)
    return roles


def _played(machine: Machine, clips: Sequence[Clip], challenge: Challenge) -> Iterator[Role]:
    training = [clip for clip in clips if clip.split == "train"]
    for number, clip in enumerate(training):
        told = f"{clip.domain}_" if clip.domain else ""
        path = f"{machine.machine_type}/train/{machine.machine_id}_{told}train_normal_{number:04d}.wav"
        yield Clip(path, *machine, "train", "normal", domain=clip.domain, attributes=clip.attributes), clip
    test = [clip for clip in clips if clip.split == "test"]
    # Told apart by machine, so that two that are played by one do not have the same order.
    random.Random(f"{challenge.year} {machine}").shuffle(test)
    template = package_of(challenge).clip_name
    for number, clip in enumerate(test):
        domain = clip.domain if "{domain}" in template else ""
        name = template.format(machine_id=machine.machine_id, domain=domain, number=number)
        yield Clip(f"{machine.machine_type}/test/{name}", *machine, "test", domain=domain), clip
