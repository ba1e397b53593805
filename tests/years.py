"""A run on the demo set in the shape of a challenge year, as quick as can be, and who sends it."""

from __future__ import annotations

from typing import Any

from offnote.challenge import load_challenge
from offnote.descriptions import years

WHOLE = [year for year in years() if load_challenge(year).machines.get("evaluation")]
"""The years whose evaluation set is known: not yet a young one."""

YEARS = range(2020, 2027)

INFERRED = (2023, 2024, 2026)
"""The years of whose `meta.yaml` no template was seen."""

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
    """Return the configuration of a run on the demo set of the year that is sent."""
    return {
        "run": "ae",
        "preset": f"dcase{year}",
        "demo": {"year": year, "train": 4, "test_normal": 4, "test_anomaly": 4, "duration": 1.0},
        "training": {"epochs": 1, "validation": 0.25},
        "evaluate": {"resamples": 0},
        "jobs": {"machines": 50},
        "submission": TEAM | {"year": year},
    } | changes
