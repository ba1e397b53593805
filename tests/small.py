"""Settings of a network small enough for tests."""

from __future__ import annotations

from typing import Any

from offnote.config import Model

SMALL: dict[str, Any] = {
    "scope": "machine",
    "hidden": [8, 2, 8],
    "batch_norm": True,
    "batch_norm_momentum": 0.01,
    "batch_norm_epsilon": 1e-3,
    "initialisation": "keras",
}


def small_model(**changes: Any) -> Model:
    """Return the settings of a small network, but for `changes`."""
    return Model(**SMALL | changes)
