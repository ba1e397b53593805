"""From a machine's features and a fitted detector to its score file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from offnote.cache import FeatureCache, check_settings
from offnote.cache import read as read_cache
from offnote.config import BrokenClips
from offnote.detectors import Card, Detector, load_detector, read_card, usable_clips
from offnote.device import choose, describe, set_threads
from offnote.errors import InputError
from offnote.logs import log, progress
from offnote.provenance import versions
from offnote.scores import Key, ScoreTable, write, write_description
from offnote.status import Status

CLIPS_PER_READ = 32
EMPTY = ScoreTable(*(np.array([], dtype=np.str_),) * 2, *(np.array([], dtype=np.float64),) * 2, statistics={})


def score_machine(
    cache: Path,
    model_directory: Path,
    output: Path,
    *,
    quantiles: Sequence[float],
    threads: int,
    device: str,
    require_gpu: bool,
    broken_clips: BrokenClips = "stop",
) -> None:
    """Score every clip of a machine, in the cache's order.

    Where broken clips are excluded and none is left to train on or to score, the score file is empty, and its
    description says why.

    Parameters
    ----------
    cache : Path
        The machine's features.
    model_directory : Path
        Folder of the fitted detector.
    output : Path
        The score file. Training clips that the fit has not seen have the split ``validation`` in it. Its description
        (:func:`offnote.scores.description_of`) tells the model, the inputs, the device and the versions that the scores
        come from, and the broken clips that have none.
    quantiles : sequence of float
        Quantiles of the window errors to keep.
    threads : int
        Torch threads.
    device, require_gpu, broken_clips
        As in the configuration.

    Raises
    ------
    InputError
        The features were made with other settings than those the model was fitted on, a clip is shorter than a
        context window, or a score is not finite.
    """
    set_threads(threads)
    chosen_device = choose(device, require_gpu)
    card = read_card(model_directory)
    with read_cache(cache) as features:
        _check_features(features, card)
        usable, excluded = usable_clips(features, range(len(features)), card.window.frames, broken_clips)
        status = card.status or ("" if usable else Status.NO_USABLE_CLIPS)
        if status:
            log.warning("%s: %s", features.path, status)
            write(output, EMPTY)
        else:
            write(output, _score(load_detector(model_directory, chosen_device), features, usable, quantiles))
        write_description(
            output,
            status=status,
            excluded=[*features.excluded, *excluded],
            model=card.weights_sha256,
            scope=card.scope,
            trial=card.trial,
            inputs_sha256=features.inputs_sha256,
            device=describe(chosen_device),
            versions=versions(),
        )


def _check_features(features: FeatureCache, card: Card) -> None:
    check_settings(features, card.features)
    if features.n_mels != card.n_mels:
        raise InputError(
            f"{features.path}: {features.n_mels} mel bands, and the model of {card.scope} has {card.n_mels}"
        )


def _score(detector: Detector, features: FeatureCache, clips: Sequence[int], quantiles: Sequence[float]) -> ScoreTable:
    entries = [features.entries[clip] for clip in clips]
    frames_of_clips = progress(_frames(features, clips), len(clips), f"clips of {features.path.stem}")
    rows = [detector.score(frames, quantiles) for frames in frames_of_clips]
    held_out = {
        (clip.path, clip.start, clip.end) for clip in detector.card.held_out if clip.machine == features.machine
    }

    def split(entry_split: str, key: Key) -> str:
        return "validation" if entry_split == "train" and key in held_out else entry_split

    return ScoreTable(
        path=np.array([entry.path for entry in entries]),
        split=np.array([split(entry.split, (entry.path, entry.start, entry.end)) for entry in entries]),
        start=np.array([math.nan if entry.start is None else entry.start for entry in entries]),
        end=np.array([math.nan if entry.end is None else entry.end for entry in entries]),
        statistics={name: np.array([row[name] for row in rows]) for name in rows[0]},
    )


def _frames(features: FeatureCache, clips: Sequence[int]) -> Iterator[np.ndarray]:
    """Read clip by clip, though several from the file at once."""
    for first in range(0, len(clips), CLIPS_PER_READ):
        frames, offsets = features.clips(clips[first : first + CLIPS_PER_READ])
        yield from (frames[start:end] for start, end in pairwise(offsets))
