"""The built-in demo set: recordings of machines that were never built, in the layout of DCASE 2020 Task 2.

A clip is the sound of a machine, in some clips a fault on top of it, and the noise of the factory around it. All that
differs from clip to clip is drawn from a seed made of the demo's seed and the clip's path: any clip can be made alone,
in any order and in a set of any size, and is the same clip. (To the last bit, given the same NumPy and processor.)

Ten seconds of sound take about 10 ms of work: noise is shaped in the frequency domain, a turning part is a table of one
turn read at the speed of the shaft, and a knock is a short decaying ring.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import soundfile
from numpy.random import Generator
from numpy.typing import NDArray

from offnote.config import Demo
from offnote.errors import InputError
from offnote.files import replacing
from offnote.logs import progress
from offnote.provenance import derive_seed

SAMPLE_RATE = 16_000
MACHINE_LEVEL = -24.0  # dB of full scale. Features far below 0 dB would leave most of the bottleneck dead.
TABLE_SIZE = 2**14
GOLDEN_RATIO = 0.5 * (5**0.5 - 1)
PATH = re.compile(
    r"(?P<machine_type>[a-z_]+)/(?P<folder>train/normal|test/normal|test/anomaly)"
    r"_(?P<machine_id>id_\d\d)_(?P<number>\d{8})\.wav"
)

Samples = NDArray[np.float32]
Curve = NDArray[np.float64]
# Corners of a noise's density: frequency in Hz and density in dB, joined by straight lines over log frequency.
Spectrum = tuple[tuple[float, float], ...]


class Fault(NamedTuple):
    """What is wrong with the machine in a clip.

    Attributes
    ----------
    kind
        One of the kinds its machine type knows, such as ``bearing``.
    severity
        From 0, near inaudible, to 1, plain.
    """

    kind: str
    severity: float


class Range(NamedTuple):
    """Level (RMS) of a kind of fault, in dB relative to `MACHINE_LEVEL`.

    Attributes
    ----------
    faint, plain
        The level at severity 0 and at severity 1.
    """

    faint: float
    plain: float


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
        return _gain(MACHINE_LEVEL) * (self.machine + self.hall)


def _gain(decibels: float) -> np.float32:
    return np.float32(10 ** (decibels / 20))


@cache
def _log_frequencies(samples: int) -> Samples:
    """Return the logarithm of a clip's spectral lines in kHz; 1 Hz stands for 0."""
    frequencies = np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLE_RATE), 1.0)
    logarithm: Samples = np.log(frequencies / 1000).astype(np.float32)
    return logarithm


@lru_cache(maxsize=16)
def _log_amplitudes(samples: int, spectrum: Spectrum) -> Samples:
    frequencies, density = np.array(spectrum).T
    decibels = np.interp(_log_frequencies(samples), np.log(frequencies / 1000), density)
    logarithm: Samples = (np.log(10) / 20 * decibels).astype(np.float32)
    return logarithm


def _noise(rng: Generator, samples: int, spectrum: Spectrum, tilt: float = 0.0) -> Samples:
    """Return Gaussian noise of unit power; `tilt` turns its spectrum about 1 kHz, in dB an octave."""
    amplitudes = np.exp(_log_amplitudes(samples, spectrum) + np.float32(tilt / 6.02) * _log_frequencies(samples))
    # Uniform lines are cheaper than Gaussian ones, and the sum of so many is Gaussian in time all the same.
    lines = rng.random(2 * amplitudes.size, dtype=np.float32).view(np.complex64) - np.complex64(0.5 + 0.5j)
    lines *= amplitudes / np.sqrt(np.mean(amplitudes**2))
    sound = np.fft.irfft(lines, samples).astype(np.float32, copy=False)
    return sound * np.float32(np.sqrt(6 * samples))


def _wander(rng: Generator, samples: int, seconds: float) -> Samples:
    """Return a curve of straight pieces, each `seconds` long, through random points of mean 0 and variance 1."""
    step = min(round(seconds * SAMPLE_RATE), samples)
    points = rng.standard_normal(samples // step + 2, dtype=np.float32)
    ramp = np.arange(step, dtype=np.float32) / np.float32(step)
    curve: Samples = points[:-1, None] + np.diff(points)[:, None] * ramp
    return curve.ravel()[:samples]


def _pieces(samples: int, times: Curve, values: list[float] | Curve) -> Samples:
    """Return a curve of straight pieces that takes `values`, one a column, at the `times` in each row, in seconds."""
    repeated = np.broadcast_to(values, times.shape).ravel()
    curve: Curve = np.interp(np.arange(samples) / SAMPLE_RATE, times.ravel(), repeated)
    return curve.astype(np.float32)


def _turns(speed: Curve | Samples) -> Curve:
    """Return how many times a shaft has turned at each sample, given its `speed` in Hz."""
    return np.cumsum(speed, dtype=np.float64) / SAMPLE_RATE


def _tone(rng: Generator, turns: Curve, orders: Mapping[int, float]) -> Samples:
    """Return the sum of a shaft's orders (multiples of its speed) with the given amplitudes, at random phases."""
    lines = np.zeros(TABLE_SIZE // 2 + 1, dtype=np.complex64)
    lines[list(orders)] = np.array(list(orders.values())) * np.exp(2j * np.pi * rng.random(len(orders)))
    table = np.fft.irfft(lines).astype(np.float32, copy=False) * np.float32(TABLE_SIZE / 2)
    tone: Samples = table[(turns * TABLE_SIZE).astype(np.int64) & (TABLE_SIZE - 1)]
    return tone


@cache
def _ring(frequencies: tuple[float, ...], decay: float) -> Samples:
    """Return a knock on a body with these resonances: of unit energy, falling by a factor e every `decay` seconds."""
    time = np.arange(round(7 * decay * SAMPLE_RATE)) / SAMPLE_RATE
    ring: Curve = np.sin(2 * np.pi * np.outer(frequencies, time)).sum(axis=0) * np.exp(-time / decay)
    return (ring / np.linalg.norm(ring)).astype(np.float32)


def _knocks(samples: int, times: Curve, strengths: Curve, ring: Samples) -> Samples:
    """Return knocks at `times` in seconds, without those that start outside the clip."""
    sound = np.zeros(samples + ring.size, dtype=np.float32)
    starts = np.floor(times * SAMPLE_RATE).astype(np.int64)
    for start, strength in zip(starts, strengths.astype(np.float32), strict=True):
        if 0 <= start < samples:
            sound[start : start + ring.size] += strength * ring
    return sound[:samples]


def _happenings(rng: Generator, samples: int, per_second: float) -> Curve:
    """Return the times, in seconds and in no order, of things that happen independently of each other."""
    seconds = samples / SAMPLE_RATE
    return rng.uniform(0, seconds, rng.poisson(per_second * seconds))


def _at(curve: Samples, times: Curve) -> Samples:
    return curve[(times * SAMPLE_RATE).astype(np.int64)]


def _rounds(rng: Generator, samples: int, seconds: float, jitter: float) -> tuple[Curve, Curve]:
    """Return starts and lengths, in seconds, of rounds without pause that begin before the clip and end after it."""
    count = int(1.3 * samples / SAMPLE_RATE / seconds) + 4
    lengths = seconds * (1 + rng.normal(0, 0.02) + rng.normal(0, jitter, count))
    return np.cumsum(lengths) - lengths[0] * (1 + rng.uniform()), lengths


@dataclass
class Machine:
    """A machine as it runs in one clip, and what could be wrong with it.

    For each kind in `faults` there is a method of that name, which returns the sound that the fault adds.

    Attributes
    ----------
    rng, samples
        Where chance comes from, and the length of the clip.
    normal
        The machine without a fault. A level of 1 (RMS), here and in the faults, stands for `MACHINE_LEVEL`.
    faults
        Level of each kind of fault, tuned so that the `mimii` preset misses the faint ones and finds the plain ones.
    """

    rng: Generator
    samples: int
    normal: Samples = field(init=False)
    faults: ClassVar[Mapping[str, Range]]


@dataclass
class Rotor(Machine):
    """A wheel with blades on a shaft: the orders of its speed, strongest where the blades pass, and wind.

    Attributes
    ----------
    shaft
        Its speed in Hz.
    blades
        Their number.
    wind
        Spectrum of the air's noise.
    housing
        Resonances in Hz that a worn bearing strikes.
    """

    _: KW_ONLY
    shaft: float
    blades: int
    wind: Spectrum
    housing: tuple[float, ...]
    faults: ClassVar = {"imbalance": Range(-20, -2), "misalignment": Range(-15, 2), "bearing": Range(-32, -13)}

    def __post_init__(self) -> None:
        load = self.rng.uniform(-1, 1)
        speed = self.shaft * (1 + 0.01 * self.rng.standard_normal() - 0.01 * load)
        self.turns = _turns(speed * (1 + 0.002 * _wander(self.rng, self.samples, 0.5)))
        orders = {order: order**-0.8 for order in range(1, 81)}
        orders |= {self.blades * n: 0.9 * n**-0.7 * _gain(2 * load) for n in range(1, 9)}
        orders = {order: amplitude * _gain(self.rng.normal(0, 0.7)) for order, amplitude in orders.items()}
        tone = _tone(self.rng, self.turns, orders)
        breeze = _noise(self.rng, self.samples, self.wind, 0.5 * load)
        self.normal = 0.45 * tone + 0.42 * _gain(1.5 * load) * breeze

    def imbalance(self, rng: Generator) -> Samples:
        """Pull at the shaft once a turn: a stronger first order, and everything else swells with it."""
        swing = np.sin(2 * np.pi * (self.turns + rng.random())).astype(np.float32)
        return 1.5 * swing * (0.5 + self.normal)

    def misalignment(self, rng: Generator) -> Samples:
        """Rub once in two turns, as a bent coupling does: half orders between those that belong there."""
        return 1.6 * _tone(rng, self.turns / 2, {order: order**-0.7 for order in range(3, 120, 2)})

    def bearing(self, rng: Generator) -> Samples:
        """Knock 3.57 times a turn, as balls do that run over a pit, louder where they bear the load."""
        knocks = np.flatnonzero(np.diff(np.floor(3.57 * self.turns)))
        strengths = 10 + 5 * np.sin(2 * np.pi * self.turns[knocks]) + rng.normal(0, 2, knocks.size)
        return _knocks(self.samples, knocks / SAMPLE_RATE, strengths, _ring(self.housing, 0.002))


@dataclass
class Pump(Machine):
    """A centrifugal pump: the tone of its vanes and the rush of water, with a bubble now and then.

    Attributes
    ----------
    shaft
        Its speed in Hz.
    vanes
        Their number.
    water
        Spectrum of the water's noise.
    pipe
        Resonances in Hz that collapsing vapour strikes.
    """

    _: KW_ONLY
    shaft: float
    vanes: int
    water: Spectrum
    pipe: tuple[float, ...]
    faults: ClassVar = {"cavitation": Range(-34, -17), "leak": Range(-31, -14), "slip": Range(-17, -1)}

    def __post_init__(self) -> None:
        load = self.rng.uniform(-1, 1)
        self.speed = self.shaft * (1 - 0.015 * load + 0.003 * _wander(self.rng, self.samples, 0.3))
        vanes = {self.vanes * n: n**-0.7 * _gain(self.rng.normal(0, 1)) for n in range(1, 6)}
        tone = _tone(self.rng, _turns(self.speed), {1: 0.6, 2: 0.4, 3: 0.2} | vanes)
        rush = _noise(self.rng, self.samples, self.water, 0.5 * load)
        rush *= 1 + 0.12 * _wander(self.rng, self.samples, 0.15)
        bubbles = _happenings(self.rng, self.samples, 0.4)
        gurgle = _knocks(self.samples, bubbles, np.full(bubbles.size, 3.0), _ring((420.0, 610.0), 0.02))
        self.normal = 0.4 * tone + 0.5 * _gain(1.5 * load) * rush + gurgle

    def cavitation(self, rng: Generator) -> Samples:
        """Crackle in bursts, as collapsing vapour does."""
        times = _happenings(rng, self.samples, 500)
        bursts = 7 * np.maximum(_at(_wander(rng, self.samples, 0.12), times), 0)
        return _knocks(self.samples, times, bursts * rng.exponential(1, times.size), _ring(self.pipe, 0.0012))

    def leak(self, rng: Generator) -> Samples:
        """Hiss steadily."""
        return _noise(rng, self.samples, ((1500, -40), (4500, 0), (7500, 0)))

    def slip(self, rng: Generator) -> Samples:
        """Let the impeller slip: a second set of tones, a little below the vanes' own and unsteady."""
        turns = _turns(self.speed * (0.93 + 0.01 * _wander(rng, self.samples, 0.4)))
        return 1.15 * _tone(rng, turns, {self.vanes * n: 1 / n for n in range(1, 8)})


@dataclass
class SlideRail(Machine):
    """A carriage that runs to and fro: a motor's whine and rolling noise that follow its speed, a thud at each end.

    Attributes
    ----------
    stroke
        Seconds from one end to the other, the rest there included.
    whine
        Frequency in Hz of the motor at full speed.
    rolling
        Spectrum of the rolling noise.
    buffer
        Resonances in Hz of the thud.
    """

    _: KW_ONLY
    stroke: float
    whine: float
    rolling: Spectrum
    buffer: tuple[float, ...]
    faults: ClassVar = {"jerk": Range(-26, -11), "rattle": Range(-25, -9), "squeal": Range(-25.5, -9.5)}

    def __post_init__(self) -> None:
        self.starts, self.lengths = _rounds(self.rng, self.samples, self.stroke, 0.01)
        moves = self.starts[:, None] + self.lengths[:, None] * np.array([0.06, 0.26, 0.7, 0.9])
        self.motion = _pieces(self.samples, moves, [0, 1, 1, 0])
        load = self.rng.uniform(-1, 1)
        turns = _turns(self.whine / 8 * (1 - 0.02 * load) * (0.3 + 0.7 * self.motion))
        motor = _tone(self.rng, turns, {8: 1.0, 16: 0.5, 24: 0.3, 3: 0.4})
        rolling = _noise(self.rng, self.samples, self.rolling, 0.5 * load)
        strengths = self.rng.uniform(6, 10, self.starts.size)
        thuds = _knocks(self.samples, moves[:, 3], strengths, _ring(self.buffer, 0.015))
        self.normal = self.motion * (0.5 * motor + 0.7 * _gain(0.7 * load) * rolling) + thuds

    def jerk(self, rng: Generator) -> Samples:
        """Catch and lurch on, in some strokes more than in others."""
        lurches = self.starts + self.lengths * rng.uniform(0.2, 0.5, self.starts.size)
        force = rng.uniform(1, 7, lurches.size)
        times = lurches[:, None] + np.array([0.0, 0.01, 0.05, 0.2])
        jolts = _pieces(self.samples, times, force[:, None] * np.array([0.0, 1.0, 0.6, 0.0]))
        return jolts * _noise(rng, self.samples, ((300, -30), (2000, -6), (4500, 0), (8000, 0)))

    def rattle(self, rng: Generator) -> Samples:
        """Knock about while the carriage moves, as something loose does."""
        times = _happenings(rng, self.samples, 60)
        strengths = _at(self.motion, times) * rng.uniform(10, 28, times.size)
        return _knocks(self.samples, times, strengths, _ring((1900.0, 2730.0, 4410.0), 0.002))

    def squeal(self, rng: Generator) -> Samples:
        """Sing while the carriage is fast, as a dry rail does."""
        turns = _turns(rng.uniform(270, 330) * (0.9 + 0.1 * self.motion + 0.004 * _wander(rng, self.samples, 0.05)))
        return self.motion**4 * _tone(rng, turns, {10: 1.9, 20: 0.6})


@dataclass
class Valve(Machine):
    """A solenoid valve: a click, the hiss of gas while it is open, another click, and a faint hiss until the next.

    Attributes
    ----------
    cycle, open_for
        Seconds from one opening to the next, and from an opening to the closing.
    gas
        Spectrum of the hiss.
    opening, closing
        Resonances in Hz of the two clicks.
    """

    _: KW_ONLY
    cycle: float
    open_for: float
    gas: Spectrum
    opening: tuple[float, ...]
    closing: tuple[float, ...]
    faults: ClassVar = {"sticking": Range(-26, -11), "bounce": Range(-30.5, -15), "leak": Range(-36, -18)}

    def __post_init__(self) -> None:
        self.opens, _ = _rounds(self.rng, self.samples, self.cycle, 0.02)
        count = self.opens.size
        self.closes = self.opens + self.open_for * (1 + self.rng.normal(0, 0.03, count))
        pressure = self.rng.uniform(-1, 1)
        strokes = np.stack([self.opens, self.opens + 0.02, self.closes, self.closes + 0.01], axis=1)
        flow = _pieces(self.samples, strokes, [0.25, 1, 0.8, 0.25])
        hiss = flow * _noise(self.rng, self.samples, self.gas, 0.5 * pressure)
        clicks = _knocks(self.samples, self.opens, self.rng.normal(4, 0.4, count), _ring(self.opening, 0.002))
        clacks = _knocks(self.samples, self.closes, self.rng.normal(5, 0.5, count), _ring(self.closing, 0.003))
        self.normal = clicks + clacks + 0.45 * _gain(pressure) * hiss

    def sticking(self, rng: Generator) -> Samples:
        """Scrape before closing."""
        times = self.closes[:, None] + np.array([-0.16, -0.04, 0, 0.005])
        scrape = _pieces(self.samples, times, [0, 2.5, 3.4, 0])
        stutter = 1 + np.sin(2 * np.pi * 70 * np.arange(self.samples) / SAMPLE_RATE).astype(np.float32)
        return scrape * stutter * _noise(rng, self.samples, ((300, -12), (700, 0), (1400, 0), (4000, -20)))

    def bounce(self, rng: Generator) -> Samples:
        """Fall back once or twice, onto the edge of the seat, which rings higher than its middle."""
        first = self.closes + rng.uniform(0.05, 0.08, self.closes.size)
        second = first + rng.uniform(0.03, 0.05, self.closes.size)
        times = np.concatenate([first, second])
        strengths = np.concatenate([rng.uniform(80, 130, first.size), rng.uniform(0, 100, first.size)])
        edge = tuple(1.3 * resonance for resonance in self.closing)
        return _knocks(self.samples, times, strengths, _ring(edge, 0.003))

    def leak(self, rng: Generator) -> Samples:
        """Whistle through the seat, fitfully, whether the valve is open or closed."""
        fits: Samples = 1.8 * _wander(rng, self.samples, 0.08)
        pitch = rng.uniform(3500, 6500)
        return fits.clip(min=0) * _noise(rng, self.samples, ((0.8 * pitch, -40), (pitch, 0), (1.2 * pitch, -40)))


_TYPES: Mapping[str, type[Machine]] = {"rotor": Rotor, "pump": Pump, "slide_rail": SlideRail, "valve": Valve}
PROTOTYPES: Mapping[tuple[str, str], Callable[[Generator, int], Machine]] = {
    ("rotor", "id_00"): partial(
        Rotor,
        shaft=29.2,
        blades=7,
        wind=((40, 0), (300, 0), (2000, -14), (8000, -34)),
        housing=(2900.0, 4300.0),
    ),
    ("rotor", "id_02"): partial(
        Rotor,
        shaft=48.6,
        blades=5,
        wind=((60, -6), (800, 0), (3000, -6), (8000, -22)),
        housing=(4600.0, 6300.0),
    ),
    ("pump", "id_00"): partial(
        Pump,
        shaft=24.6,
        vanes=6,
        water=((100, -12), (500, 0), (1500, -3), (8000, -30)),
        pipe=(2600.0, 5200.0),
    ),
    ("pump", "id_02"): partial(
        Pump,
        shaft=48.9,
        vanes=7,
        water=((100, -6), (250, 0), (900, -8), (3000, -8), (8000, -26)),
        pipe=(3300.0, 6100.0),
    ),
    ("slide_rail", "id_00"): partial(
        SlideRail,
        stroke=1.25,
        whine=740.0,
        rolling=((100, -20), (900, 0), (2500, -4), (8000, -24)),
        buffer=(180.0, 430.0),
    ),
    ("slide_rail", "id_02"): partial(
        SlideRail,
        stroke=0.8,
        whine=1150.0,
        rolling=((100, -20), (500, -2), (2500, -2), (8000, -23)),
        buffer=(260.0, 900.0),
    ),
    ("valve", "id_00"): partial(
        Valve,
        cycle=1.5,
        open_for=0.5,
        gas=((500, -30), (2500, -4), (5000, 0), (8000, -4)),
        opening=(1800.0, 3100.0, 5200.0),
        closing=(900.0, 2300.0, 3900.0),
    ),
    ("valve", "id_02"): partial(
        Valve,
        cycle=1.7,
        open_for=0.75,
        gas=((500, -24), (1500, 0), (3000, -2), (8000, -16)),
        opening=(1200.0, 2700.0, 6100.0),
        closing=(650.0, 1700.0, 4800.0),
    ),
}
MACHINES: tuple[tuple[str, str], ...] = tuple(PROTOTYPES)
HALL: Spectrum = ((30, 6), (100, 4), (400, 0), (1500, -10), (8000, -26))


def rebuilt(
    prototype: Callable[[Generator, int], Machine], pitch: float, pace: float
) -> Callable[[Generator, int], Machine]:
    """Return a machine like another, of another size and speed.

    Parameters
    ----------
    prototype
        One of `PROTOTYPES`.
    pitch
        Multiplies its resonances and the frequencies of its noise.
    pace
        Multiplies its speeds, and divides what it takes of time.
    """
    assert isinstance(prototype, partial)
    changed: dict[str, Any] = {}
    for name, value in prototype.keywords.items():
        if isinstance(value, tuple):
            corners = [
                (pitch * corner[0], corner[1]) if isinstance(corner, tuple) else pitch * corner for corner in value
            ]
            changed[name] = tuple(corners)
        elif name in ("stroke", "cycle", "open_for"):
            changed[name] = value / pace
        elif isinstance(value, float):
            changed[name] = value * pace
    return partial(prototype, **changed)


def factory(rng: Generator, samples: int, spectrum: Spectrum = HALL) -> Samples:
    """Return the noise of a hall, of unit power: rumble that comes and goes, and now and then a clank far away."""
    rumble = _noise(rng, samples, spectrum, rng.uniform(-0.35, 0.35)) * (1 + 0.1 * _wander(rng, samples, 0.8))
    clanks = _happenings(rng, samples, 0.15)
    return rumble + _knocks(samples, clanks, rng.uniform(7, 28, clanks.size), _ring((530.0, 1270.0, 2210.0), 0.05))


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
    kinds = list(_TYPES[machine_type].faults)
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
        sound = sound + _deviation(machine, fault, np.random.default_rng(seeds[1]))
    return Recorded(_gain(rng.uniform(-1.2, 1.2)) * sound, _gain(rng.uniform(-7, -5)) * noise)


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


def _deviation(machine: Machine, fault: Fault, rng: Generator) -> Samples:
    if fault.kind not in machine.faults:
        known = ", ".join(machine.faults)
        raise InputError(f"A {type(machine).__name__} has no fault '{fault.kind}'. It may have {known}")
    faint, plain = machine.faults[fault.kind]
    sound: Samples = getattr(machine, fault.kind)(rng)
    return _gain(faint + fault.severity * (plain - faint)) * sound
