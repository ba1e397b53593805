"""The recordings that both sides work on: generated once, and the same for both."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from offnote import synthesis, synthetic_challenge
from offnote.clips import Clip, Machine, write_clips
from offnote.config import Demo
from offnote.files import replacing
from offnote.logs import progress
from offnote.sounds import SAMPLE_RATE, Samples
from offnote.synthetic_challenge import Take

YEAR = 2020
"""Of the machines of the demo set, 41 in all."""


_Planned = tuple[Clip, Callable[[], Samples]]
"""A clip, and what makes its sound."""


@dataclass(frozen=True)
class Recordings:
    """A generated set.

    Attributes
    ----------
    sheet : Path
        Its sample sheet, which offnote reads.
    paths : Path
        The same as JSON, which the opponent reads: the paths of each machine's clips, by split.
    machines : int
        How many there are.
    """

    sheet: Path
    paths: Path
    machines: int


def synthesised(folder: Path, machines: int, train: int, test: int, seconds: float = 10.0) -> Recordings:
    """Make clips of the demo set's machines, or find them made.

    Parameters
    ----------
    folder : Path
        Holds all generated sets.
    machines : int
        Up to 41, evenly taken from all machine types.
    train, test : int
        Clips of each; half of the test clips are anomalous.
    seconds : float
        Length of a clip.
    """
    demo = Demo(year=YEAR, train=train, test_normal=test - test // 2, test_anomaly=test // 2, duration=seconds)
    every = synthetic_challenge.machines(demo)
    chosen = [every[place * len(every) // machines] for place in range(machines)]
    takes = [take for machine in chosen for take in synthetic_challenge.takes(demo, machine)]
    name = f"{machines}_machines_{train}_train_{test}_test_{seconds:g}_s"
    planned = [(_clip(take), partial(synthetic_challenge.render, take, demo)) for take in takes]
    return _written(folder / name, machines, planned)


def noise(folder: Path, machines: int, clips: int, seconds: float = 0.5) -> Recordings:
    """Make many short clips of noise, for measurements in which it does not matter what a clip holds.

    Parameters
    ----------
    folder, seconds
        As in :func:`synthesised`.
    machines : int
        As many as you like.
    clips : int
        Of all machines together; a tenth of each machine's are test clips.
    """
    planned = [
        (
            _noise_clip(Machine("noise", f"id_{place:03d}"), number),
            partial(_noise, number, round(seconds * SAMPLE_RATE)),
        )
        for place in range(machines)
        for number in range(clips * place // machines, clips * (place + 1) // machines)
    ]
    return _written(folder / f"{machines}_machines_{clips}_clips_of_noise_{seconds:g}_s", machines, planned)


def _clip(take: Take) -> Clip:
    return Clip(take.path, *take.machine, split=take.split, label=take.label)


def _noise_clip(machine: Machine, number: int) -> Clip:
    split, label = ("train", "normal") if number % 10 else ("test", "anomaly" if number % 20 else "normal")
    return Clip(f"{machine}/{number:08d}.wav", *machine, split=split, label=label)


def _noise(seed: int, samples: int) -> Samples:
    return np.random.default_rng(seed).uniform(-0.1, 0.1, samples).astype(np.float32)


def _written(folder: Path, machines: int, planned: Sequence[_Planned]) -> Recordings:
    """Write the clips, and last the sheet, so that a set with a sheet is whole."""
    made = Recordings(folder / "clips.tsv", folder / "clips.json", machines)
    if made.sheet.exists():
        return made
    by_machine: dict[str, dict[str, list[str]]] = {}
    for clip, sound in progress(planned, len(planned), f"clips in {folder}"):
        synthesis.write(folder / clip.path, sound())
        splits = by_machine.setdefault(str(clip.machine), {"train": [], "test": []})
        splits[clip.split].append(str((folder / clip.path).resolve()))
    with replacing(made.paths) as temporary:
        temporary.write_text(json.dumps(by_machine), encoding="utf-8")
    write_clips(made.sheet, [clip for clip, _ in planned])
    return made
