"""The demo set in the shape of a challenge year: development and evaluation sets, domains, attributes, microphones.

The machines, and the names of their clips, are those of the year's file in ``config/datasets``. What they sound like is
made up: each is one of the demo's machines, built a little differently. In the target domain, of which the training
clips hold next to nothing, a machine runs at another speed and stands in another hall, and is as sound as before.
"""

from __future__ import annotations

import math
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator

from offnote import synthesis, synthetic_machines
from offnote.challenge import Challenge, DemoNames, Section, load_challenge
from offnote.clips import Machine
from offnote.config import Demo
from offnote.errors import InputError
from offnote.logs import progress
from offnote.provenance import derive_seed
from offnote.score_folders import ground_truth_files
from offnote.sounds import SAMPLE_RATE, Samples, Spectrum
from offnote.synthesis import HALL, Recorded
from offnote.synthetic_machines import Fault

TARGET_SHARE = 0.01
"""Share of the training clips that are of the target domain: 10 of 1,000, as in the challenge since 2022."""

FEWEST_TARGETS = 2
SUPPLEMENTAL_SHARE = 0.1

FAR_GAIN = 10 ** (-8 / 20)
"""The machine at the far microphone, relative to the near one: lower by 8 dB. The hall is as loud there."""

FAR_DELAY = 48
"""Samples by which the machine is heard later at the far microphone: 3 ms, or one metre."""

OTHER_HALL: Spectrum = ((30, 4), (100, 2), (400, 1), (1500, -7), (8000, -24))


class Condition(NamedTuple):
    """How a machine runs, and where.

    Attributes
    ----------
    attributes
        As the name of a clip tells them.
    speed
        Relative to the machine's own.
    hall
        Spectrum of the noise around it.
    """

    attributes: str
    speed: float
    hall: Spectrum


CONDITIONS = {
    "": [Condition("", 1.0, HALL)],
    "source": [Condition("speed_1_noise_1", 1.0, HALL), Condition("speed_2_noise_1", 1.04, HALL)],
    "target": [Condition("speed_3_noise_2", 0.96, OTHER_HALL)],
}


class Take(NamedTuple):
    """One clip of the set: what it is called, and what is in it.

    Attributes
    ----------
    path
        Relative to the set's root, with forward slashes.
    machine
        The machine that was recorded.
    split
        ``train``, ``test`` or ``supplemental``.
    label
        ``normal`` or ``anomaly``, also where the path keeps it to itself.
    domain
        ``source``, ``target``, or empty in a year without domains.
    number
        Counts the machine's clips of this split, label and domain.
    """

    path: str
    machine: Machine
    split: str
    label: str
    domain: str
    number: int

    @property
    def condition(self) -> Condition:
        """How the machine runs in it."""
        return _condition(self.domain, self.number)


def machines(demo: Demo) -> list[Machine]:
    """List the machines of the development and evaluation sets of the year.

    Raises
    ------
    InputError
        There is no such year, its file does not say how clips are called, or there are too few of them for its domains.

    Examples
    --------
    >>> len(machines(Demo(year=2020))), machines(Demo(year=2026))[0]
    (41, Machine(machine_type='BlowerDustCollector', machine_id='section_00'))
    """
    challenge, _ = _challenge(demo)
    for key in ("train", "test_normal", "test_anomaly") if challenge.domains else ():
        if getattr(demo, key) < len(challenge.domains):
            raise InputError(f"demo.{key}: {len(challenge.domains)} or more, for there are clips of as many domains")
    return sorted(machine for kind in challenge.machines for machine in challenge.machines_of(kind))


def takes(demo: Demo, machine: Machine) -> list[Take]:
    """List the clips of a machine, without touching a file: for training, for testing, and in some years supplemental.

    In the evaluation set the name of a test clip tells no label, and in 2021 alone its domain: the order of their
    numbers is drawn at random.

    Parameters
    ----------
    demo
        The year, how many clips there are of each kind, and the seed.
    machine
        One of :func:`machines`.

    Examples
    --------
    >>> demo = Demo(year=2022, train=2, test_normal=2, test_anomaly=2)
    >>> [take.path for take in takes(demo, Machine("fan", "section_00"))][1:3]  # doctest: +NORMALIZE_WHITESPACE
    ['fan/train/section_00_target_train_normal_0000_speed_3_noise_2.wav',
     'fan/test/section_00_source_test_normal_0000_speed_1_noise_1.wav']
    """
    challenge, names = _challenge(demo)
    targets = min(max(round(TARGET_SHARE * demo.train), FEWEST_TARGETS), demo.train // 2)
    training = _kinds(challenge, "normal", demo.train, targets)
    test = _kinds(challenge, "normal", demo.test_normal, demo.test_normal // 2)
    test += _kinds(challenge, "anomaly", demo.test_anomaly, demo.test_anomaly // 2)
    supplemental = _kinds(challenge, "normal", math.ceil(SUPPLEMENTAL_SHARE * demo.train), 0)
    tells_attributes = not names.hide_attributes or _place(demo, machine) % 2 == 0
    told = [
        (names.train, "train", training),
        (names.test, "test", test if challenge.holds("development", machine) else []),
        (names.supplemental, "supplemental", supplemental if names.supplemental else []),
    ]
    planned = [
        Take(_named(template, machine, *kind, attributes=tells_attributes), machine, split, *kind)
        for template, split, kinds in told
        for kind in kinds
    ]
    if not challenge.holds("development", machine):
        planned += _untold(demo, machine, challenge, names, test)
    return planned


def planned_paths(demo: Demo) -> list[str]:
    """List the clips of the set, machine after machine, without touching a file: paths relative to its root."""
    return [take.path for machine in machines(demo) for take in takes(demo, machine)]


def synthesise_machine(machine: Machine, root: Path, demo: Demo) -> None:
    """Write the clips of one machine: WAV files of one channel, or of two in 2026, of 16 bit and 16 kHz.

    Parameters
    ----------
    machine
        One of :func:`machines`.
    root
        The folder of the set. Missing folders are made, clips that are there already are replaced.
    demo
        The year, and the size, duration and seed of the set.
    """
    planned = takes(demo, machine)
    for take in progress(planned, len(planned), f"synthesise {machine}"):
        synthesis.write(root / take.path, render(take, demo))


def render(take: Take, demo: Demo) -> Samples:
    """Make a clip: what one microphone records or, in a year of two channels, the near and the far one.

    Returns
    -------
    ndarray of float32, shape (samples,) or (samples, 2)
        Sound between -1 and 1 at 16 kHz.
    """
    near = record(take, demo)
    if channels(demo) == 1:
        return near.mixed()
    return np.stack([near.mixed(), record_far(take, demo, near).mixed()], axis=1)


def channels(demo: Demo) -> int:
    """Return how many microphones record each clip."""
    return _challenge(demo)[1].channels


def record(take: Take, demo: Demo) -> Recorded:
    """Return the machine and the hall as they are at the near microphone, or at the only one.

    In a supplemental clip one of the two is silent: of every other machine type the hall, of the others the machine.
    """
    recorded = synthesis.record(
        partial(_build, demo, take.machine, take.condition.speed),
        _fault(demo, take),
        (_seed(demo, 0, take), _seed(demo, 1, take)),
        round(demo.duration * SAMPLE_RATE),
        take.condition.hall,
    )
    if take.split != "supplemental":
        return recorded
    silence = np.zeros_like(recorded.hall)
    return recorded._replace(machine=silence) if _place(demo, take.machine) % 2 else recorded._replace(hall=silence)


def record_far(take: Take, demo: Demo, near: Recorded) -> Recorded:
    """Return the machine and the hall as they are at the far microphone.

    The machine is that of the near one, `FAR_DELAY` samples later and times `FAR_GAIN`. The hall is another stretch of
    the same noise, equally loud.
    """
    late = np.zeros_like(near.machine)
    late[FAR_DELAY:] = near.machine[:-FAR_DELAY]
    hall = synthesis.factory(np.random.default_rng(_seed(demo, 2, take)), late.size, take.condition.hall)
    loudness = np.sqrt(np.mean(np.square(near.hall)) / np.mean(np.square(hall)))
    return Recorded(np.float32(FAR_GAIN) * late, np.float32(loudness) * hall)


def ground_truth(demo: Demo) -> dict[str, str]:
    """Return what the names of the evaluation clips do not tell, as the year's evaluators publish it, by file name.

    Examples
    --------
    >>> sorted(ground_truth(Demo(year=2021)))[0]
    'ground_truth_data/ground_truth_ToyCar_section_03_source_test.csv'
    """
    challenge, _ = _challenge(demo)
    truths: dict[Section, dict[str, tuple[bool, str]]] = {}
    for section in challenge.evaluated():
        truths[section] = {
            Path(take.path).name: (take.label == "anomaly", take.domain)
            for take in takes(demo, section.machine)
            if take.split == "test" and section.domain in ("", take.domain)
        }
    return ground_truth_files(challenge, truths)


def _challenge(demo: Demo) -> tuple[Challenge, DemoNames]:
    try:
        challenge = load_challenge(demo.year or 0)
    except InputError as error:
        raise InputError(f"demo.year: {error}") from None
    if challenge.demo is None:
        raise InputError(f"demo.year: {challenge.file} does not say how its clips are called")
    return challenge, challenge.demo


def _kinds(challenge: Challenge, label: str, clips: int, targets: int) -> list[tuple[str, str, int]]:
    """Return label, domain and number of so many clips, of which `targets` are of the target domain."""
    counts = {"source": clips - targets, "target": targets} if challenge.domains else {"": clips}
    return [(label, domain, number) for domain, count in counts.items() for number in range(count)]


def _condition(domain: str, number: int) -> Condition:
    conditions = CONDITIONS[domain]
    return conditions[number % len(conditions)]


def _named(template: str, machine: Machine, label: str, domain: str, number: int, *, attributes: bool = True) -> str:
    told = _condition(domain, number).attributes if attributes else "noAttribute"
    return template.format(**machine._asdict(), label=label, domain=domain, number=number, attributes=told)


def _untold(
    demo: Demo, machine: Machine, challenge: Challenge, names: DemoNames, test: list[tuple[str, str, int]]
) -> list[Take]:
    """Name the test clips of the evaluation set; what they are called apart from the number must not tell the label."""
    assert challenge.package is not None
    template = f"{names.test.rpartition('/')[0]}/{challenge.package.clip_name}"
    order = np.random.default_rng(derive_seed(demo.seed, 0, f"order of {demo.year} {machine}")).permutation(len(test))
    numbers: dict[str, int] = {}
    planned = []
    for place in order:
        label, domain, number = test[place]
        series = template.format(**machine._asdict(), domain=domain, number=0)
        numbers[series] = numbers.get(series, -1) + 1
        path = template.format(**machine._asdict(), domain=domain, number=numbers[series])
        planned.append(Take(path, machine, "test", label, domain, number))
    return sorted(planned)


def _seed(demo: Demo, stream: int, take: Take) -> int:
    what = f"{demo.year} {take.machine} {take.split} {take.label} {take.domain} {take.number}"
    return derive_seed(demo.seed, stream, what)


def _fault(demo: Demo, take: Take) -> Fault | None:
    """Return what is wrong with the machine; the domains take turns in the series of its faults."""
    if take.label == "normal":
        return None
    place = 2 * take.number + (take.domain == "target") if take.domain else take.number
    return synthesis.planned_fault(demo, str(take.machine), _kind(demo, take.machine), place)


@cache
def _types(year: int) -> list[str]:
    sets = load_challenge(year).machines.values()
    return sorted({name for types in sets for name in types})


def _place(demo: Demo, machine: Machine) -> int:
    """Return the place of a machine's type among those of the year."""
    return _types(demo.year or 0).index(machine.machine_type)


def _kind(demo: Demo, machine: Machine) -> str:
    """Return which of the demo's types a machine is of: its own where the demo has it, else one of them in turn."""
    kinds = sorted({kind for kind, _ in synthesis.MACHINES})
    return machine.machine_type if machine.machine_type in kinds else kinds[_place(demo, machine) % len(kinds)]


def _build(demo: Demo, machine: Machine, speed: float, rng: Generator, samples: int) -> synthetic_machines.Machine:
    """Build one of the demo's machines, a little differently for each machine of the set."""
    kind = _kind(demo, machine)
    own = np.random.default_rng(derive_seed(demo.seed, 0, f"{demo.year} {machine}"))
    likes = [name for other, name in synthesis.MACHINES if other == kind]
    prototype: Any = synthetic_machines.PROTOTYPES[kind, likes[own.integers(len(likes))]]
    pitch, pace = np.exp(own.uniform(-0.15, 0.15, 2))
    return synthetic_machines.rebuilt(prototype, pitch=pitch, pace=pace * speed)(rng, samples)
