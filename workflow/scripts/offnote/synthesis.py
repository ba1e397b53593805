"""The built-in demo set: recordings of machines that were never built, in the layout of DCASE 2020 Task 2.

A clip is the sound of a machine, in some clips a fault on top of it, and the noise of the factory around it. All that
differs from clip to clip is drawn from a seed made of the demo's seed and the clip's path: any clip can be made alone,
in any order and in a set of any size, and is the same clip. (To the last bit, given the same NumPy and processor.)

Ten seconds of sound take about 10 ms of work.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.random import Generator

from offnote import sounds
from offnote.config import Demo
from offnote.errors import InputError
from offnote.files import replacing
from offnote.logs import progress
from offnote.provenance import derive_seed
from offnote.sounds import SAMPLE_RATE, Samples, Spectrum
from offnote.synthetic_machines import PROTOTYPES, TYPES, Fault, Machine

MACHINES: tuple[tuple[str, str], ...] = tuple(PROTOTYPES)
MACHINE_LEVEL = -24.0  # dB of full scale. Features far below 0 dB would leave most of the bottleneck dead.
HALL: Spectrum = ((30, 6), (100, 4), (400, 0), (1500, -10), (8000, -26))
GOLDEN_RATIO = 0.5 * (5**0.5 - 1)
PATH = re.compile(
    r"(?P<machine_type>[a-z_]+)/(?P<folder>train/normal|test/normal|test/anomaly)"
    r"_(?P<machine_id>id_\d\d)_(?P<number>\d{8})\.wav"
)


class Recorded(NamedTuple):
    """What a microphone records, before it is added up.

    Attributes
    ----------
    machine, hall : ndarray of float32, shape (samples,)
        Relative to `MACHINE_LEVEL`.
    """

    machine: Samples
    hall: Samples

    def mixed(self) -> Samples:
        """Return the clip."""
        return sounds.gain(MACHINE_LEVEL) * (self.machine + self.hall)


def factory(rng: Generator, samples: int, spectrum: Spectrum = HALL) -> Samples:
    """Return the noise of a hall, of unit power: rumble that comes and goes, and now and then a clank far away."""
    rumble = sounds.noise(rng, samples, spectrum, rng.uniform(-0.35, 0.35)) * (
        1 + 0.1 * sounds.wander(rng, samples, 0.8)
    )
    clanks = sounds.happenings(rng, samples, 0.15)
    return rumble + sounds.knocks(
        samples, clanks, rng.uniform(7, 28, clanks.size), sounds.ring((530.0, 1270.0, 2210.0), 0.05)
    )


def planned_paths(demo: Demo, machine_type: str | None = None, machine_id: str | None = None) -> list[str]:
    """List the clips of the demo set, or of some of its machines, without touching a file.

    Parameters
    ----------
    demo
        How many clips a machine has.
    machine_type, machine_id
        Only this type, or only this ID; None for all.

    Returns
    -------
    list of str
        POSIX paths relative to the set's root: machine after machine, training clips first.

    Raises
    ------
    InputError
        If the demo set has no such machine.

    Examples
    --------
    >>> planned_paths(Demo(train=1, test_normal=1, test_anomaly=1), "pump", "id_02")  # doctest: +NORMALIZE_WHITESPACE
    ['pump/train/normal_id_02_00000000.wav', 'pump/test/normal_id_02_00000000.wav',
     'pump/test/anomaly_id_02_00000000.wav']
    """
    machines = [(kind, name) for kind, name in MACHINES if machine_type in (None, kind) and machine_id in (None, name)]
    if not machines:
        known = ", ".join("/".join(machine) for machine in MACHINES)
        raise InputError(f"The demo set has no machine {machine_type or '*'}/{machine_id or '*'}. It has {known}")
    return [path for machine in machines for path in machine_paths(demo, *machine)]


def machine_paths(demo: Demo, machine_type: str, machine_id: str) -> list[str]:
    """List the clips of one machine; any two names will do, wildcards of the workflow among them.

    Examples
    --------
    >>> machine_paths(Demo(train=1, test_normal=1, test_anomaly=1), "{type}", "{id}")[0]
    '{type}/train/normal_{id}_00000000.wav'
    """
    counts = {"train/normal": demo.train, "test/normal": demo.test_normal, "test/anomaly": demo.test_anomaly}
    return [
        f"{machine_type}/{folder}_{machine_id}_{index:08d}.wav"
        for folder, count in counts.items()
        for index in range(count)
    ]


def fault_of(path: str, demo: Demo) -> Fault | None:
    """Tell what is wrong in a clip, which its name does not say: for documentation and tests, never for a detector.

    In every block of as many anomalous clips as there are kinds of fault, each kind comes once. Its severities follow
    the golden ratio from block to block, so that they cover the range evenly in a set of any size. A fault that sounds
    once in a stroke or cycle may fall outside a clip shorter than that.

    Parameters
    ----------
    path
        A planned path.
    demo
        Of this only the seed matters.

    Returns
    -------
    Fault or None
        None for a normal clip.

    Raises
    ------
    InputError
        If the demo set has no such path.

    Examples
    --------
    >>> fault_of("valve/test/anomaly_id_00_00000000.wav", Demo(seed=0))
    Fault(kind='leak', severity=0.8333333333333334)
    >>> fault_of("valve/test/normal_id_00_00000000.wav", Demo(seed=0)) is None
    True
    """
    clip = _read(path)
    if not clip.anomalous:
        return None
    return planned_fault(demo, f"{clip.machine_type}/{clip.machine_id}", clip.machine_type, clip.number)


def planned_fault(demo: Demo, machine: str, machine_type: str, number: int) -> Fault:
    """Tell what is wrong in one of a machine's anomalous clips; :func:`fault_of` says by which rule.

    Parameters
    ----------
    demo
        Of this only the seed matters.
    machine
        Names the machine, so that two of a type do not have the same series of faults.
    machine_type
        One of the demo's.
    number
        Counts the machine's anomalous clips.
    """
    kinds = list(TYPES[machine_type].faults)
    block, place = divmod(number, len(kinds))
    seed = derive_seed(demo.seed, block, f"faults of {machine}")
    kind = int(np.random.default_rng(seed).permutation(len(kinds))[place])
    return Fault(kinds[kind], (block * GOLDEN_RATIO + (kind + 0.5) / len(kinds)) % 1.0)


def render(path: str, demo: Demo, fault: Fault | None) -> Samples:
    """Make a clip with a fault of your choice, or with none: all else in it stays the same.

    Parameters
    ----------
    path
        A planned path, which stands for all that chance decides.
    demo
        The clip's duration and the seed.
    fault
        What is wrong with the machine; None for nothing.

    Returns
    -------
    ndarray of float32, shape (samples,)
        Sound between -1 and 1 at 16 kHz.

    Raises
    ------
    InputError
        If the demo set has no such path, or the machine no such kind of fault.

    Examples
    --------
    >>> demo = Demo(duration=1.0)
    >>> normal, worn = (
    ...     render("rotor/test/normal_id_00_00000000.wav", demo, fault) for fault in (None, Fault("bearing", 1.0))
    ... )
    >>> normal.shape, bool((normal == worn).all())
    ((16000,), False)
    """
    clip = _read(path)
    seeds = derive_seed(demo.seed, 0, path), derive_seed(demo.seed, 1, path)
    build = PROTOTYPES[clip.machine_type, clip.machine_id]
    return record(build, fault, seeds, round(demo.duration * SAMPLE_RATE)).mixed()


def record(
    build: Callable[[Generator, int], Machine],
    fault: Fault | None,
    seeds: tuple[int, int],
    samples: int,
    hall: Spectrum = HALL,
) -> Recorded:
    """Record a machine in a hall.

    Parameters
    ----------
    build
        The machine, of `PROTOTYPES` or like one of them.
    fault
        What is wrong with it; None for nothing.
    seeds
        What chance decides in the normal clip, and in the fault.
    samples
        Length of the clip.
    hall
        Spectrum of the noise around the machine.
    """
    rng = np.random.default_rng(seeds[0])
    machine = build(rng, samples)
    noise = factory(rng, samples, hall)
    sound = machine.normal
    if fault is not None:
        sound = sound + machine.deviation(fault, np.random.default_rng(seeds[1]))
    return Recorded(sounds.gain(rng.uniform(-1.2, 1.2)) * sound, sounds.gain(rng.uniform(-7, -5)) * noise)


def synthesise_clip(path: str, demo: Demo) -> Samples:
    """Make a clip of the demo set, with the fault it is planned to have.

    Parameters
    ----------
    path
        A planned path.
    demo
        The clip's duration and the seed; the size of the set makes no difference.

    Returns
    -------
    ndarray of float32, shape (samples,)
        Sound between -1 and 1 at 16 kHz.

    Raises
    ------
    InputError
        If the demo set has no such path.

    Examples
    --------
    >>> synthesise_clip("pump/train/normal_id_00_00000000.wav", Demo(duration=2.5)).shape
    (40000,)
    """
    return render(path, demo, fault_of(path, demo))


def synthesise_machine(machine_type: str, machine_id: str, root: Path, demo: Demo) -> None:
    """Write the demo set's clips of one machine: WAV files of one channel, 16 bit, 16 kHz.

    Parameters
    ----------
    machine_type, machine_id
        One of `MACHINES`.
    root
        The folder of the demo set. Missing folders are made, clips that are there already are replaced.
    demo
        Size, duration and seed of the set.

    Raises
    ------
    InputError
        If the demo set has no such machine.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     synthesise_machine(
    ...         "valve", "id_00", Path(folder), Demo(train=2, test_normal=1, test_anomaly=1, duration=1.0)
    ...     )
    ...     sorted(path.name for path in Path(folder).glob("valve/train/*"))
    ['normal_id_00_00000000.wav', 'normal_id_00_00000001.wav']
    """
    paths = planned_paths(demo, machine_type, machine_id)
    for path in progress(paths, len(paths), f"synthesise {machine_type}/{machine_id}"):
        write(root / path, synthesise_clip(path, demo))


def write(path: Path, sound: Samples) -> None:
    """Write a clip as a WAV file of 16 bit; `sound` is (samples,) or (samples, channels), between -1 and 1."""
    content = io.BytesIO()
    # By way of memory: of a full disk libsndfile says no more than "system error".
    integers = np.rint(sound * np.float32(2**15 - 1)).astype(np.int16)
    soundfile.write(content, integers, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue())


class _Clip(NamedTuple):
    machine_type: str
    machine_id: str
    anomalous: bool
    number: int


def _read(path: str) -> _Clip:
    match = PATH.fullmatch(path)
    if match is None or (match["machine_type"], match["machine_id"]) not in PROTOTYPES:
        raise InputError(f"{path} is no clip of the demo set. Take one that `planned_paths` lists")
    anomalous = match["folder"] == "test/anomaly"
    return _Clip(match["machine_type"], match["machine_id"], anomalous, int(match["number"]))
