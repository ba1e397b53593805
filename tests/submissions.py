"""Systems to send, with scores of the whole evaluation set, and a team with what YAML could misread in its names."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from offnote.challenge import Section, load_challenge
from offnote.meta import package_of
from offnote.submission import Measured, System

TEAM: dict[str, Any] = {
    "lastname": "Lastname",
    "institute": "Institute",
    "authors": [
        {
            "firstname": "First",
            "lastname": "Nächster",
            "email": "first@example.org",
            "corresponding": True,
            "affiliation": {"location": "Town, Country", "institution": "University: Town"},
        },
        {
            "firstname": "Second",
            "lastname": "Yes",
            "email": "second@example.org",
            "affiliation": {"institution": "Works", "department": "R & D #2", "location": "Village"},
        },
    ],
    "source_code": "https://example.org/code",
}
REPORT = b"%PDF-1.7\nnothing yet\n"


def clip_names(year: int, section: Section, count: int = 6) -> list[str]:
    """Name the test clips of a section of the evaluation set, as that year's recordings are named."""
    if year == 2020:
        return [f"{section.machine_id}_{number:08d}.wav" for number in range(count)]
    middle = f"_{section.domain}_test" if year == 2021 else "_test" if year == 2022 else ""
    return [f"{section.machine_id}{middle}_{number:04d}.wav" for number in range(count)]


def measured(year: int, **changes: Any) -> Measured:
    challenge = load_challenge(year)
    generator = random.Random(year)
    results = {
        name: {key: generator.uniform(40, 100) for key in package_of(challenge).results}
        for name in challenge.machines["development"]
    }
    known: dict[str, Any] = {
        "sampling_rates": [16000],
        "acoustic_features": "log-mel energies",
        "machine_learning_method": "AE",
        "aggregation_method": "average",
        "total_parameters": 269992,
        "macs": 1_000_000,
        "results": results,
    }
    return Measured(**known | changes)


def system(year: int, number: int = 1, **changes: Any) -> System:
    """Make up the scores of all sections of the evaluation set, and decisions on them."""
    challenge = load_challenge(year)
    generator = random.Random(100 * year + number)
    scores = {
        section: {clip: generator.gauss(0, 1) for clip in clip_names(year, section)}
        for section in challenge.evaluated()
    }
    decisions = {section: {clip: score > 0.5 for clip, score in rows.items()} for section, rows in scores.items()}
    stated = {"name": f"System {number}: autoencoder", "abbreviation": f"AE {number}"}
    return replace(System(stated, measured(year), scores, decisions), **changes)


def systems(year: int, folder: Path, count: int = 2) -> list[System]:
    """Make up systems with technical reports."""
    report = folder / "my report.pdf"
    report.write_bytes(REPORT)
    made = [system(year, number) for number in range(1, count + 1)]
    return [replace(one, stated={**one.stated, "technical_report": str(report)}) for one in made]
