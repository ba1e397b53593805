"""Sounds out of which machines are made: noise, tones, knocks, and the curves that move them.

Noise is shaped in the frequency domain, a turning part is a table of one turn read at the speed of the shaft, and a
knock is a short decaying ring. Lengths are counted in samples, times in seconds, levels are RMS.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
TABLE_SIZE = 2**14

Samples = NDArray[np.float32]
Curve = NDArray[np.float64]
# Corners of a noise's density: frequency in Hz and density in dB, joined by straight lines over log frequency.
Spectrum = tuple[tuple[float, float], ...]


def gain(decibels: float) -> np.float32:
    """Return the factor that decibels stand for."""
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


def noise(rng: Generator, samples: int, spectrum: Spectrum, tilt: float = 0.0) -> Samples:
    """Return Gaussian noise of unit power; `tilt` turns its spectrum about 1 kHz, in dB an octave."""
    amplitudes = np.exp(_log_amplitudes(samples, spectrum) + np.float32(tilt / 6.02) * _log_frequencies(samples))
    # Uniform lines are cheaper than Gaussian ones, and the sum of so many is Gaussian in time all the same.
    lines = rng.random(2 * amplitudes.size, dtype=np.float32).view(np.complex64) - np.complex64(0.5 + 0.5j)
    lines *= amplitudes / np.sqrt(np.mean(amplitudes**2))
    sound = np.fft.irfft(lines, samples).astype(np.float32, copy=False)
    return sound * np.float32(np.sqrt(6 * samples))


def wander(rng: Generator, samples: int, seconds: float) -> Samples:
    """Return a curve of straight pieces, each `seconds` long, through random points of mean 0 and variance 1."""
    step = min(round(seconds * SAMPLE_RATE), samples)
    points = rng.standard_normal(samples // step + 2, dtype=np.float32)
    ramp = np.arange(step, dtype=np.float32) / np.float32(step)
    curve: Samples = points[:-1, None] + np.diff(points)[:, None] * ramp
    return curve.ravel()[:samples]


def pieces(samples: int, times: Curve, values: list[float] | Curve) -> Samples:
    """Return a curve of straight pieces that takes `values`, one a column, at the `times` in each row, in seconds."""
    repeated = np.broadcast_to(values, times.shape).ravel()
    curve: Curve = np.interp(np.arange(samples) / SAMPLE_RATE, times.ravel(), repeated)
    return curve.astype(np.float32)


def turns(speed: Curve | Samples) -> Curve:
    """Return how many times a shaft has turned at each sample, given its `speed` in Hz."""
    return np.cumsum(speed, dtype=np.float64) / SAMPLE_RATE


def tone(rng: Generator, turns: Curve, orders: Mapping[int, float]) -> Samples:
    """Return the sum of a shaft's orders (multiples of its speed) with the given amplitudes, at random phases."""
    lines = np.zeros(TABLE_SIZE // 2 + 1, dtype=np.complex64)
    lines[list(orders)] = np.array(list(orders.values())) * np.exp(2j * np.pi * rng.random(len(orders)))
    table = np.fft.irfft(lines).astype(np.float32, copy=False) * np.float32(TABLE_SIZE / 2)
    tone: Samples = table[(turns * TABLE_SIZE).astype(np.int64) & (TABLE_SIZE - 1)]
    return tone


@cache
def ring(frequencies: tuple[float, ...], decay: float) -> Samples:
    """Return a knock on a body with these resonances: of unit energy, falling by a factor e every `decay` seconds."""
    time = np.arange(round(7 * decay * SAMPLE_RATE)) / SAMPLE_RATE
    ring: Curve = np.sin(2 * np.pi * np.outer(frequencies, time)).sum(axis=0) * np.exp(-time / decay)
    return (ring / np.linalg.norm(ring)).astype(np.float32)


def knocks(samples: int, times: Curve, strengths: Curve, ring: Samples) -> Samples:
    """Return knocks at `times` in seconds, without those that start outside the clip."""
    sound = np.zeros(samples + ring.size, dtype=np.float32)
    starts = np.floor(times * SAMPLE_RATE).astype(np.int64)
    for start, strength in zip(starts, strengths.astype(np.float32), strict=True):
        if 0 <= start < samples:
            sound[start : start + ring.size] += strength * ring
    return sound[:samples]


def happenings(rng: Generator, samples: int, per_second: float) -> Curve:
    """Return the times, in seconds and in no order, of things that happen independently of each other."""
    seconds = samples / SAMPLE_RATE
    return rng.uniform(0, seconds, rng.poisson(per_second * seconds))


def at(curve: Samples, times: Curve) -> Samples:
    """Return a curve's values at `times` in seconds."""
    return curve[(times * SAMPLE_RATE).astype(np.int64)]


def rounds(rng: Generator, samples: int, seconds: float, jitter: float) -> tuple[Curve, Curve]:
    """Return starts and lengths, in seconds, of rounds without pause that begin before the clip and end after it."""
    count = int(1.3 * samples / SAMPLE_RATE / seconds) + 4
    lengths = seconds * (1 + rng.normal(0, 0.02) + rng.normal(0, jitter, count))
    return np.cumsum(lengths) - lengths[0] * (1 + rng.uniform()), lengths
