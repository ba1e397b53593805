"""Networks, feature caches and fits small enough for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from offnote import cache
from offnote.cache import CachedClip
from offnote.checkpoints import Checkpoint
from offnote.clips import Entry
from offnote.config import Model, Training, Window
from offnote.detectors import Scope, fit_scopes
from offnote.models import Autoencoder

CPU = torch.device("cpu")
needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(),  # type: ignore[no-untyped-call]
    reason="PyTorch was built without oneDNN",
)
SIZE = 3
"""Frames of a context window in :func:`fit_small`."""

Frames = npt.NDArray[np.float32]


class Killed(BaseException):
    """Stands for the end of the process in the middle of its work."""


def small_model(**changes: Any) -> Model:
    """Return the settings of a small network, but for `changes`."""
    settings: dict[str, Any] = {
        "scope": "machine",
        "hidden": [8, 2, 8],
        "batch_norm": True,
        "batch_norm_momentum": 0.01,
        "batch_norm_epsilon": 1e-3,
        "initialisation": "keras",
    }
    return Model(**settings | changes)


def small_training(**changes: Any) -> Training:
    """Return the settings of a short training, but for `changes`."""
    settings: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 16,
        "learning_rate": 1e-3,
        "adam_epsilon": 1e-7,
        "validation": 0.2,
        "fast_share": 0.1,
    }
    return Training(**settings | changes)


def generator(seed: int = 0) -> torch.Generator:
    """Return a generator of torch."""
    return torch.Generator().manual_seed(seed)


def small_network(inputs: int, *, batch_norm: bool = False, seed: int = 0, **changes: Any) -> Autoencoder:
    """Return a network that no one has trained; `changes` are those of its settings."""
    return Autoencoder(inputs, small_model(batch_norm=batch_norm, **changes), generator(seed))


def noise(
    lengths: Iterable[int], mels: int, seed: int = 0, mean: float | Sequence[float] = 0.0, spread: float = 1.0
) -> list[Frames]:
    """Return frames of clips with so many frames, normally distributed: each (frames, mels)."""
    rng = np.random.default_rng(seed)
    return [rng.normal(mean, spread, (length, mels)).astype(np.float32) for length in lengths]


def small_cache(
    path: Path,
    clips: Sequence[npt.NDArray[np.floating]],
    entries: Sequence[Entry] | None = None,
    settings: Mapping[str, Any] | None = None,
    dtype: Literal["float32", "float16"] = "float32",
) -> Path:
    """Write a feature cache.

    Parameters
    ----------
    path
        The file to make.
    clips
        Frames of each clip, (frames, mels).
    entries
        What they are; without, training clips: ``0.wav``, ``1.wav``, …
    settings
        Of the features; without, the number of mel bands, and a power of 2.
    dtype
        Of the frames in the file.

    Returns
    -------
    Path
        `path`.
    """
    mels = clips[0].shape[1]
    entries = entries or [Entry(f"{number}.wav", "train") for number in range(len(clips))]
    settings = {"features": {"n_mels": mels, "power": 2.0}} if settings is None else settings
    made = (CachedClip(entry, "", 0, frames.astype(np.float32)) for entry, frames in zip(entries, clips, strict=True))
    cache.write(path, made, settings, n_mels=mels, dtype=dtype)
    return path


def fit_small(caches: Sequence[Path], directory: Path, **changes: Any) -> Checkpoint:
    """Fit a small detector with :func:`offnote.detectors.fit_scopes`, whose settings may be among `changes`.

    So may be `scope` and `trial`.
    """
    settings: dict[str, Any] = {
        "window": Window(frames=SIZE),
        "model": small_model(),
        "training": small_training(),
        "seed": 0,
        "device": "cpu",
        "require_gpu": False,
    } | changes
    scope = Scope(settings.pop("scope", "fan/id_00"), settings.pop("trial", 0), caches, directory)
    return fit_scopes([scope], **settings)[0]
