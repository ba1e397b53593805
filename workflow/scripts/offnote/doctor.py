"""A check of the machine: versions, GPU and driver, and whether the disk holds what the configured runs will write."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offnote import __version__, audio, synthetic_challenge
from offnote.clips import Clip, Machine
from offnote.config import Demo, Slice, resolve
from offnote.device import driver, gpu_names, gpus
from offnote.errors import BrokenClipError, InputError
from offnote.files import nearest
from offnote.plan import Run, plan
from offnote.processor import is_of_amd
from offnote.provenance import versions
from offnote.recordings import STORAGES
from offnote.sounds import SAMPLE_RATE

CLIPS_LOOKED_AT = 20
BYTES_PER_SAMPLE = 2
GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One line of the report: whether it is well, and what was found."""

    good: bool
    text: str


def examine(config: Mapping[str, Any], folder: Path) -> Iterator[Finding]:
    """Look at everything a run depends on, one finding after the other.

    Parameters
    ----------
    config
        The merged configuration, as for :func:`offnote.config.resolve`.
    folder
        Where ``results`` will stand.
    """
    yield Finding(True, f"offnote {__version__}")
    yield Finding(True, ", ".join(f"{name} {number}" for name, number in versions().items()))
    yield Finding(True, f"{len(os.sched_getaffinity(0))} CPU cores" if hasattr(os, "sched_getaffinity") else "CPU")
    try:
        settings = resolve(config)
    except InputError as error:
        yield Finding(False, str(error))
        return
    yield from _examine_transform()
    yield from _examine_gpu(any(each.device == "cuda" or each.require_gpu for each in settings.values()))
    if any((each.dataset.path or "").startswith(STORAGES) for each in settings.values()):
        yield Finding(True, "recordings on S3 are looked at by snakemake alone, so are the runs that need them")
        return
    try:
        runs = plan(config)
    except InputError as error:
        yield Finding(False, str(error))
        return
    for name, run in runs.items():
        clips = sum(len(run.recordings.clips[machine]) for machine in run.machines)
        idle = len(run.machines) - len(run.scored_machines)
        text = f"run {name}: clips {clips}, machines {len(run.machines)}, models to train in a trial {len(run.scopes)}"
        yield Finding(True, text + (f", machines without training clips {idle}" if idle else ""))
    yield from _examine_clips(runs)
    yield _examine_disk(list(runs.values()), folder)


def _examine_transform() -> Iterator[Finding]:
    """Tell where OpenCV is missing that is to make features."""
    from offnote.spectra import load_opencv

    if is_of_amd():
        try:
            load_opencv()
        except InputError as error:
            yield Finding(False, str(error))


def _examine_gpu(needed: bool) -> Iterator[Finding]:
    import torch

    names = gpu_names()
    if not names:
        yield Finding(not needed, "no NVIDIA GPU with a driver: the CPU will be used")
        return
    yield Finding(True, f"GPUs: {', '.join(names)}; {gpus()} of them for this process")
    found = driver()
    if torch.version.cuda is None:
        yield Finding(False, "torch was built without CUDA, so the GPU will not be used: install torch's CUDA build")
    elif found is not None:
        fits = found.suits_torch()
        advice = (
            "" if fits else "; it is too old, so torch will use the CPU: update the driver, or install an older torch"
        )
        yield Finding(
            fits, f"driver {found.version} runs CUDA {found.cuda}, torch wants CUDA {torch.version.cuda}{advice}"
        )
    yield Finding(torch.cuda.is_available() or not needed, f"torch finds a GPU: {torch.cuda.is_available()}")


def _examine_clips(runs: Mapping[str, Run]) -> Iterator[Finding]:
    """Name a broken clip, if there is one among those that the disk estimate looks at."""
    for name, run in runs.items():
        if run.recordings.are_made or run.recordings.caches:
            continue
        seen = [clip for machine in run.scored_machines for clip in run.recordings.clips[machine][:CLIPS_LOOKED_AT]]
        headers = [_header(run.recordings.root / clip.path) for clip in seen]
        broken = [header for header in headers if isinstance(header, InputError)]
        if broken:
            # A recording that is not there, or may not be read, stops a run all the same.
            excluded = all(isinstance(error, BrokenClipError) for error in broken)
            good = excluded and run.settings.dataset.broken_clips == "exclude"
            yield Finding(good, f"run {name}: {len(broken)} of {len(seen)} clips looked at are broken: {broken[0]}")


def _examine_disk(runs: Sequence[Run], folder: Path) -> Finding:
    try:
        free = shutil.disk_usage(nearest(folder)).free
    except InputError as error:
        return Finding(False, str(error))
    needed = sum(bytes_needed(runs).values())
    text = f"disk at {folder}: {free / GIB:.1f} GiB free, the runs will need about {needed / GIB:.1f} GiB"
    return Finding(free > needed, text if free > needed else f"{text}: free some space or move the checkout")


def bytes_needed(runs: Sequence[Run]) -> dict[str, int]:
    """Estimate the size of what will be written and is not there yet, by kind of file.

    Durations are read from the headers of the first twenty clips of each machine, but for broken ones. A gate is not
    reckoned with: it may leave all of a recording in.
    """
    needed = {"demo recordings": 0, "feature caches": 0}
    caches: set[Path] = set()
    for run in runs:
        for machine in run.scored_machines:
            path = Path(run.cache_path(machine))
            if path in caches or path.exists() or run.recordings.caches:
                continue
            caches.add(path)
            recorded, cached = _seconds(run, machine)
            needed["feature caches"] += round(cached * _cached_bytes_per_second(run))
            if run.recordings.are_made and not run.recordings.root.exists():
                needed["demo recordings"] += round(recorded * _recorded_bytes_per_second(run.settings.demo))
    return needed


def _recorded_bytes_per_second(demo: Demo) -> int:
    channels = 1 if demo.year is None else synthetic_challenge.channels(demo)
    return SAMPLE_RATE * channels * BYTES_PER_SAMPLE


def _cached_bytes_per_second(run: Run) -> float:
    features = run.settings.features
    frames = run.settings.audio.sample_rate / features.hop_length
    return frames * features.n_mels * (2 if features.dtype == "float16" else 4)


def _seconds(run: Run, machine: Machine) -> tuple[float, float]:
    """Return how much a machine's clips last in all, and how much the slices do that are made of them."""
    clips = run.recordings.clips[machine]
    lengths = [(clip, _clip_seconds(run, clip)) for clip in clips[:CLIPS_LOOKED_AT]]
    known = [(clip, seconds) for clip, seconds in lengths if seconds is not None]
    if not known:
        return 0.0, 0.0
    recorded = sum(seconds for _, seconds in known)
    cached = sum(seconds if clip.start is not None else _sliced(seconds, run.settings.slice) for clip, seconds in known)
    scale = len(clips) / len(known)
    return scale * recorded, scale * cached


def _clip_seconds(run: Run, clip: Clip) -> float | None:
    """Return how much a clip lasts; None where its recording is broken."""
    if run.recordings.are_made:
        return run.settings.demo.duration
    header = _header(run.recordings.root / clip.path)
    if isinstance(header, InputError):
        return None
    return (clip.end or header.samples / header.sample_rate) - (clip.start or 0.0)


def _header(path: Path) -> audio.Recording | InputError:
    """Read a recording's header, or say why that cannot be done."""
    try:
        return audio.info(path)
    except InputError as error:
        return error


def _sliced(seconds: float, slicing: Slice) -> float:
    """Return how much the slices of a recording last together: those that overlap more than it, others less."""
    if slicing.length is None:
        return seconds
    return max(0, 1 + math.floor((seconds - slicing.length) / (slicing.hop or slicing.length))) * slicing.length
