"""The machines of the demo set, which were never built: how each sounds, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple, cast

import numpy as np
from numpy.random import Generator

from offnote import sounds
from offnote.errors import InputError
from offnote.sounds import SAMPLE_RATE, Samples, Spectrum


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
    times
        The parameters that are times; other numbers are speeds, or count something.
    faults
        Level of each kind of fault, tuned so that the `mimii` preset misses the faint ones and finds the plain ones.
    """

    rng: Generator
    samples: int
    normal: Samples = field(init=False)
    times: ClassVar[frozenset[str]] = frozenset()
    faults: ClassVar[Mapping[str, Range]]

    def deviation(self, fault: Fault, rng: Generator) -> Samples:
        """Return the sound that a fault adds, at its severity.

        Raises
        ------
        InputError
            The machine has no such kind of fault.
        """
        if fault.kind not in self.faults:
            known = ", ".join(self.faults)
            raise InputError(f"A {type(self).__name__} has no fault '{fault.kind}'. It may have {known}")
        faint, plain = self.faults[fault.kind]
        sound: Samples = getattr(self, fault.kind)(rng)
        return sounds.gain(faint + fault.severity * (plain - faint)) * sound


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
        self.turns = sounds.turns(speed * (1 + 0.002 * sounds.wander(self.rng, self.samples, 0.5)))
        orders = {order: order**-0.8 for order in range(1, 81)}
        orders |= {self.blades * n: 0.9 * n**-0.7 * sounds.gain(2 * load) for n in range(1, 9)}
        orders = {order: amplitude * sounds.gain(self.rng.normal(0, 0.7)) for order, amplitude in orders.items()}
        tone = sounds.tone(self.rng, self.turns, orders)
        breeze = sounds.noise(self.rng, self.samples, self.wind, 0.5 * load)
        self.normal = 0.45 * tone + 0.42 * sounds.gain(1.5 * load) * breeze

    def imbalance(self, rng: Generator) -> Samples:
        """Pull at the shaft once a turn: a stronger first order, and everything else swells with it."""
        swing = np.sin(2 * np.pi * (self.turns + rng.random())).astype(np.float32)
        return 1.5 * swing * (0.5 + self.normal)

    def misalignment(self, rng: Generator) -> Samples:
        """Rub once in two turns, as a bent coupling does: half orders between those that belong there."""
        return 1.6 * sounds.tone(rng, self.turns / 2, {order: order**-0.7 for order in range(3, 120, 2)})

    def bearing(self, rng: Generator) -> Samples:
        """Knock 3.57 times a turn, as balls do that run over a pit, louder where they bear the load."""
        knocks = np.flatnonzero(np.diff(np.floor(3.57 * self.turns)))
        strengths = 10 + 5 * np.sin(2 * np.pi * self.turns[knocks]) + rng.normal(0, 2, knocks.size)
        return sounds.knocks(self.samples, knocks / SAMPLE_RATE, strengths, sounds.ring(self.housing, 0.002))


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
        self.speed = self.shaft * (1 - 0.015 * load + 0.003 * sounds.wander(self.rng, self.samples, 0.3))
        vanes = {self.vanes * n: n**-0.7 * sounds.gain(self.rng.normal(0, 1)) for n in range(1, 6)}
        tone = sounds.tone(self.rng, sounds.turns(self.speed), {1: 0.6, 2: 0.4, 3: 0.2} | vanes)
        rush = sounds.noise(self.rng, self.samples, self.water, 0.5 * load)
        rush *= 1 + 0.12 * sounds.wander(self.rng, self.samples, 0.15)
        bubbles = sounds.happenings(self.rng, self.samples, 0.4)
        gurgle = sounds.knocks(self.samples, bubbles, np.full(bubbles.size, 3.0), sounds.ring((420.0, 610.0), 0.02))
        self.normal = 0.4 * tone + 0.5 * sounds.gain(1.5 * load) * rush + gurgle

    def cavitation(self, rng: Generator) -> Samples:
        """Crackle in bursts, as collapsing vapour does."""
        times = sounds.happenings(rng, self.samples, 500)
        bursts = 7 * np.maximum(sounds.at(sounds.wander(rng, self.samples, 0.12), times), 0)
        return sounds.knocks(
            self.samples, times, bursts * rng.exponential(1, times.size), sounds.ring(self.pipe, 0.0012)
        )

    def leak(self, rng: Generator) -> Samples:
        """Hiss steadily."""
        return sounds.noise(rng, self.samples, ((1500, -40), (4500, 0), (7500, 0)))

    def slip(self, rng: Generator) -> Samples:
        """Let the impeller slip: a second set of tones, a little below the vanes' own and unsteady."""
        turns = sounds.turns(self.speed * (0.93 + 0.01 * sounds.wander(rng, self.samples, 0.4)))
        return 1.15 * sounds.tone(rng, turns, {self.vanes * n: 1 / n for n in range(1, 8)})


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
    times: ClassVar = frozenset({"stroke"})
    faults: ClassVar = {"jerk": Range(-26, -11), "rattle": Range(-25, -9), "squeal": Range(-25.5, -9.5)}

    def __post_init__(self) -> None:
        self.starts, self.lengths = sounds.rounds(self.rng, self.samples, self.stroke, 0.01)
        moves = self.starts[:, None] + self.lengths[:, None] * np.array([0.06, 0.26, 0.7, 0.9])
        self.motion = sounds.pieces(self.samples, moves, [0, 1, 1, 0])
        load = self.rng.uniform(-1, 1)
        turns = sounds.turns(self.whine / 8 * (1 - 0.02 * load) * (0.3 + 0.7 * self.motion))
        motor = sounds.tone(self.rng, turns, {8: 1.0, 16: 0.5, 24: 0.3, 3: 0.4})
        rolling = sounds.noise(self.rng, self.samples, self.rolling, 0.5 * load)
        strengths = self.rng.uniform(6, 10, self.starts.size)
        thuds = sounds.knocks(self.samples, moves[:, 3], strengths, sounds.ring(self.buffer, 0.015))
        self.normal = self.motion * (0.5 * motor + 0.7 * sounds.gain(0.7 * load) * rolling) + thuds

    def jerk(self, rng: Generator) -> Samples:
        """Catch and lurch on, in some strokes more than in others."""
        lurches = self.starts + self.lengths * rng.uniform(0.2, 0.5, self.starts.size)
        force = rng.uniform(1, 7, lurches.size)
        times = lurches[:, None] + np.array([0.0, 0.01, 0.05, 0.2])
        jolts = sounds.pieces(self.samples, times, force[:, None] * np.array([0.0, 1.0, 0.6, 0.0]))
        return jolts * sounds.noise(rng, self.samples, ((300, -30), (2000, -6), (4500, 0), (8000, 0)))

    def rattle(self, rng: Generator) -> Samples:
        """Knock about while the carriage moves, as something loose does."""
        times = sounds.happenings(rng, self.samples, 60)
        strengths = sounds.at(self.motion, times) * rng.uniform(10, 28, times.size)
        return sounds.knocks(self.samples, times, strengths, sounds.ring((1900.0, 2730.0, 4410.0), 0.002))

    def squeal(self, rng: Generator) -> Samples:
        """Sing while the carriage is fast, as a dry rail does."""
        turns = sounds.turns(
            rng.uniform(270, 330) * (0.9 + 0.1 * self.motion + 0.004 * sounds.wander(rng, self.samples, 0.05))
        )
        return self.motion**4 * sounds.tone(rng, turns, {10: 1.9, 20: 0.6})


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
    times: ClassVar = frozenset({"cycle", "open_for"})
    faults: ClassVar = {"sticking": Range(-26, -11), "bounce": Range(-30.5, -15), "leak": Range(-36, -18)}

    def __post_init__(self) -> None:
        self.opens, _ = sounds.rounds(self.rng, self.samples, self.cycle, 0.02)
        count = self.opens.size
        self.closes = self.opens + self.open_for * (1 + self.rng.normal(0, 0.03, count))
        pressure = self.rng.uniform(-1, 1)
        strokes = np.stack([self.opens, self.opens + 0.02, self.closes, self.closes + 0.01], axis=1)
        flow = sounds.pieces(self.samples, strokes, [0.25, 1, 0.8, 0.25])
        hiss = flow * sounds.noise(self.rng, self.samples, self.gas, 0.5 * pressure)
        clicks = sounds.knocks(
            self.samples, self.opens, self.rng.normal(4, 0.4, count), sounds.ring(self.opening, 0.002)
        )
        clacks = sounds.knocks(
            self.samples, self.closes, self.rng.normal(5, 0.5, count), sounds.ring(self.closing, 0.003)
        )
        self.normal = clicks + clacks + 0.45 * sounds.gain(pressure) * hiss

    def sticking(self, rng: Generator) -> Samples:
        """Scrape before closing."""
        times = self.closes[:, None] + np.array([-0.16, -0.04, 0, 0.005])
        scrape = sounds.pieces(self.samples, times, [0, 2.5, 3.4, 0])
        stutter = 1 + np.sin(2 * np.pi * 70 * np.arange(self.samples) / SAMPLE_RATE).astype(np.float32)
        return scrape * stutter * sounds.noise(rng, self.samples, ((300, -12), (700, 0), (1400, 0), (4000, -20)))

    def bounce(self, rng: Generator) -> Samples:
        """Fall back once or twice, onto the edge of the seat, which rings higher than its middle."""
        first = self.closes + rng.uniform(0.05, 0.08, self.closes.size)
        second = first + rng.uniform(0.03, 0.05, self.closes.size)
        times = np.concatenate([first, second])
        strengths = np.concatenate([rng.uniform(80, 130, first.size), rng.uniform(0, 100, first.size)])
        edge = tuple(1.3 * resonance for resonance in self.closing)
        return sounds.knocks(self.samples, times, strengths, sounds.ring(edge, 0.003))

    def leak(self, rng: Generator) -> Samples:
        """Whistle through the seat, fitfully, whether the valve is open or closed."""
        fits: Samples = 1.8 * sounds.wander(rng, self.samples, 0.08)
        pitch = rng.uniform(3500, 6500)
        return fits.clip(min=0) * sounds.noise(rng, self.samples, ((0.8 * pitch, -40), (pitch, 0), (1.2 * pitch, -40)))


TYPES: Mapping[str, type[Machine]] = {"rotor": Rotor, "pump": Pump, "slide_rail": SlideRail, "valve": Valve}
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
    times = cast("type[Machine]", prototype.func).times
    changed: dict[str, Any] = {}
    for name, value in prototype.keywords.items():
        if isinstance(value, tuple):
            corners = [
                (pitch * corner[0], corner[1]) if isinstance(corner, tuple) else pitch * corner for corner in value
            ]
            changed[name] = tuple(corners)
        elif name in times:
            changed[name] = value / pace
        elif isinstance(value, float):
            changed[name] = value * pace
    return partial(prototype, **changed)
