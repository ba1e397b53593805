"""Small recordings of all machines of a challenge year, named as that year names them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from offnote.challenge import load_challenge
from offnote.clips import Machine

RATE = 16000
TRAIN, TEST = 4, 2
"""Training clips of a machine, and its test clips of each label and domain."""


TEAM: dict[str, Any] = {
    "lastname": "Lastname",
    "institute": "Institute",
    "authors": [
        {
            "lastname": "Lastname",
            "firstname": "First",
            "email": "first@example.org",
            "corresponding": True,
            "affiliation": {"institution": "Institute", "location": "Town"},
        }
    ],
    "name": "Autoencoder",
    "abbreviation": "AE",
}
LABEL = "Lastname_Institute_task2"


def settings(year: int, **changes: Any) -> dict[str, Any]:
    """Return the configuration of a run on these recordings that is sent, as quick as can be."""
    return {
        "run": "ae",
        "preset": f"dcase{year}",
        "dataset": {"name": f"dcase{year}", "path": "recordings", "layout": f"dcase{year}"},
        "training": {"epochs": 1, "validation": 0.25},
        "evaluate": {"resamples": 0},
        "jobs": {"machines": 50},
        "submission": TEAM | {"year": year},
    } | changes


def clip_names(year: int, machine: Machine, kind: str) -> Iterator[str]:
    """Name the clips of a machine of the ``development`` or ``evaluation`` set, relative to the recordings' folder."""
    name, labelled = machine.machine_id, kind == "development"
    if year == 2020:
        yield from (f"{machine.machine_type}/train/normal_{name}_{number:08d}.wav" for number in range(TRAIN))
        for number in range(TEST):
            stems = [f"{label}_{name}" for label in ("normal", "anomaly")] if labelled else [name]
            yield from (f"{machine.machine_type}/test/{stem}_{number:08d}.wav" for stem in stems)
        return
    for number in range(TRAIN):
        domain = "target" if number == 0 else "source"
        yield f"{machine.machine_type}/train/{name}_{domain}_train_normal_{number:04d}_speed_1.wav"
    number = 0
    for domain in ("source", "target"):
        folder = f"{machine.machine_type}/{f'{domain}_test' if year == 2021 else 'test'}"
        middle = f"{domain}_test_" if year == 2021 else "test_" if year == 2022 else ""
        for label in ("normal", "anomaly"):
            for _ in range(TEST):
                told = (
                    f"{name}_{domain}_test_{label}_{number:04d}_speed_1" if labelled else f"{name}_{middle}{number:04d}"
                )
                yield f"{folder}/{told}.wav"
                number += 1


def record(folder: Path, year: int, seconds: float = 1.0) -> None:
    """Write noise for every clip of a year, with a tone where it is anomalous; two channels in 2026."""
    generator = np.random.default_rng(year)
    for kind, types in load_challenge(year).machines.items():
        for machine in (Machine(name, machine_id) for name, ids in types.items() for machine_id in ids):
            for name in clip_names(year, machine, kind):
                samples = generator.normal(0, 0.1, (round(seconds * RATE), 2 if year == 2026 else 1))
                if "_anomaly_" in name or "/anomaly_" in name:
                    samples += 0.1 * np.sin(0.7 * np.arange(len(samples)))[:, None]
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, samples, RATE, subtype="PCM_16")
