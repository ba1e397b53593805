"""Recordings of no content, and how loud others are."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def touch(root: Path, *paths: str) -> Path:
    """Make empty files below `root`, and return it."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def decibels(sound: np.ndarray) -> float:
    """Return the level of a sound, of which full scale is 0 dB."""
    return float(20 * np.log10(np.sqrt(np.mean(np.square(sound, dtype=float)))))
