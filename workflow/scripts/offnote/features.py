"""Log-mel spectrograms: from the recordings of one machine to its feature cache."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, cycle, repeat
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from offnote import config
from offnote.audio import Recording, info, read, require_readable, slices
from offnote.cache import CachedClip, Frames, feature_settings, write
from offnote.clips import Entry, Excluded
from offnote.device import choose, set_threads
from offnote.errors import BrokenClipError, InputError
from offnote.logs import log, progress
from offnote.provenance import sha256_of
from offnote.spectra import squared_magnitudes
from offnote.wording import first_of

# Frames worked on at once: those of an hour-long clip take no more memory than those of a short one.
CPU_FRAMES = 512
GPU_FRAMES = 2**15
# Of these, transformed at once on the CPU: fewer ask for more operations; for more, the C library may take memory from
# the system anew at each clip, which doubles the time.
CPU_TRANSFORMED = 160
# Mel bands in one product: neighbours share their few frequencies, and the rest of their columns of the bank is zero. A
# multiple of what a vector register holds.
BANDS_AT_ONCE = 16
BATCH_SAMPLES = 32 * 160_000
COPY = "%s (%s) is a copy of %s (%s): what is trained on tells nothing when it is tested"
NAMED = 3
"""Kinds of broken clips that the sentence on the screen names."""

T = TypeVar("T")
R = TypeVar("R")


class LogMel:
    """The log-mel spectrogram of the published baselines, as librosa computes it, frame-major.

    Centred frames under a periodic Hann window, magnitude to a power, mel bank, ``20 / power * log10``.

    Parameters
    ----------
    features
        The settings.
    sample_rate
        Samples per second.
    device
        Where to compute; the CPU, if nothing is said.

    Notes
    -----
    Window and Fourier transform work in double precision, as librosa's do: in single precision the strongest partial's
    rounding errors move bands 60 dB below it by more than 1e-4 dB, and differently on every kind of processor.

    On the CPU every clip is computed alone, in blocks of one number of frames, so its bits do not depend on its batch.
    They may on the number of torch's threads, which share out the products with the mel bank: `extract` uses one.

    Examples
    --------
    >>> settings = config.Features(
    ...     n_fft=1024, hop_length=512, n_mels=64, power=2.0, f_min=0.0, f_max=None, mel_scale="slaney",
    ...     mel_norm="slaney", padding="zeros", log="add", epsilon=2.22e-16,
    ... )
    >>> LogMel(settings, 16000)(torch.rand(1, 160000)).shape
    torch.Size([1, 313, 64])
    """

    def __init__(self, features: config.Features, sample_rate: int, device: torch.device | None = None) -> None:
        self.features = features
        self.device = device or torch.device("cpu")
        self.window = torch.hann_window(features.n_fft, dtype=torch.float64).to(self.device)
        bank = mel_bank(features, sample_rate).float()
        groups = list(_groups(bank))
        self._rows = [rows for rows, _ in groups]
        self.banks = [bank[group].contiguous().to(self.device) for group in groups]

    @property
    def fewest_samples(self) -> int:
        """Samples in the shortest clip that the padding can be made of."""
        return self.features.n_fft // 2 + 1 if self.features.padding == "reflect" else 1

    @torch.inference_mode()
    def __call__(self, samples: Tensor) -> Tensor:
        """Compute the log-mel spectrograms of clips of one length.

        Parameters
        ----------
        samples
            float32, shape (clips, samples), on the device; at least :attr:`fewest_samples` each.

        Returns
        -------
        Tensor
            In dB, float32, shape (clips, 1 + samples // hop_length, n_mels).
        """
        clips, count = len(samples), 1 + samples.shape[-1] // self.features.hop_length
        log_mel = samples.new_empty(clips, count, self.features.n_mels)
        on_cpu = self.device.type == "cpu"
        clips_at_once, frames_at_once = (1, CPU_FRAMES) if on_cpu else (clips, max(1, GPU_FRAMES // clips))
        starts = range(0, count, frames_at_once)
        for of_clips, out in zip(*(torch.split(each, clips_at_once) for each in (samples, log_mel)), strict=True):
            for first, run in zip(starts, torch.split(out, frames_at_once, dim=1), strict=True):
                self._log_mel(of_clips, first, run)
        return log_mel

    def _log_mel(self, samples: Tensor, first: int, out: Tensor) -> None:
        """Compute the frames of clips from `first` on, as many as `out` has: (clips, frames, n_mels)."""
        magnitude = samples.new_empty(len(samples), out.shape[1], self.features.n_fft // 2 + 1)
        at_once = CPU_TRANSFORMED if self.device.type == "cpu" else out.shape[1]
        starts = range(first, first + out.shape[1], at_once)
        for start, block in zip(starts, torch.split(magnitude, at_once, dim=1), strict=True):
            squared_magnitudes(self._frames(samples, start, block.shape[1]) * self.window, out=block)
        if self.features.power != 2.0:
            magnitude.pow_(self.features.power / 2)
        mel = self.in_bands(magnitude.flatten(0, 1))
        mel = mel.clamp_(self.features.epsilon) if self.features.log == "clamp" else mel.add_(self.features.epsilon)
        torch.mul(mel.log10_().view_as(out), 20 / self.features.power, out=out)

    def in_bands(self, magnitude: Tensor) -> Tensor:
        """Multiply with the mel bank, leaving out most of its zeros.

        Parameters
        ----------
        magnitude
            float32, shape (frames, n_fft // 2 + 1), on the device.

        Returns
        -------
        Tensor
            float32, shape (frames, n_mels).
        """
        return torch.cat([magnitude[:, rows] @ bank for rows, bank in zip(self._rows, self.banks, strict=True)], dim=1)

    def _frames(self, samples: Tensor, first: int, count: int) -> Tensor:
        """Cut frames out of clips, around every `hop_length`-th sample, in double precision: (clips, count, n_fft)."""
        n_fft, hop = self.features.n_fft, self.features.hop_length
        start = first * hop - n_fft // 2
        # In double precision before the frames are cut: a product of both precisions takes twice as long.
        stretch = samples.new_empty(len(samples), (count - 1) * hop + n_fft, dtype=self.window.dtype)
        self._fill(stretch, samples, start)
        return stretch.unfold(-1, n_fft, hop)

    def _fill(self, stretch: Tensor, samples: Tensor, start: int) -> None:
        """Fill a stretch with the samples of clips from `start` on, padded where it reaches beyond them."""
        length, end = samples.shape[-1], start + stretch.shape[-1]
        before, after = max(0, -start), max(0, end - length)
        stretch[:, before : stretch.shape[-1] - after] = samples[:, max(0, start) : end]
        reflects = self.features.padding == "reflect"
        if before:
            stretch[:, :before] = samples[:, 1 : before + 1].flip(-1) if reflects else 0
        if after:
            stretch[:, -after:] = samples[:, length - 1 - after : length - 1].flip(-1) if reflects else 0


def mel_bank(features: config.Features, sample_rate: int) -> Tensor:
    """Return the weights that turn magnitudes into mel bands: torchaudio's, in double precision.

    In single precision, its default, they would move log-mels by up to 6e-4 dB.

    Returns
    -------
    Tensor
        float64, shape (n_fft // 2 + 1, n_mels).
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        bank: Tensor = melscale_fbanks(
            features.n_fft // 2 + 1,
            features.f_min,
            sample_rate / 2 if features.f_max is None else features.f_max,
            features.n_mels,
            sample_rate,
            features.mel_norm,
            features.mel_scale,
        )
    finally:
        torch.set_default_dtype(default)
    return bank


def _groups(bank: Tensor) -> Iterator[tuple[slice, slice]]:
    """Divide a mel bank into groups of neighbouring bands: the rows of each that are not all zero, and its columns."""
    for first in range(0, bank.shape[1], BANDS_AT_ONCE):
        bands = slice(first, first + BANDS_AT_ONCE)
        rows = bank[:, bands].any(dim=1).nonzero().flatten().tolist()
        yield slice(rows[0], rows[-1] + 1) if rows else slice(0), bands


@dataclass(frozen=True)
class _Clip:
    """A clip whose place in its recording is known in samples, at the recording's own rate; `last` None: its end."""

    entry: Entry
    path: Path
    first: int
    last: int | None


@dataclass(frozen=True)
class _Plan:
    """The clips of one entry, and the seconds of its recording that the gate left out."""

    clips: list[_Clip]
    gated_seconds: float = 0.0


_Decode = Callable[[_Clip], NDArray[np.float32]]


@dataclass(frozen=True)
class _Transformed:
    """The frames of a clip, and how many samples they were made from."""

    samples: int
    frames: Frames


def extract(
    entries: Sequence[Entry],
    root: Path,
    output: Path,
    *,
    audio: config.Audio,
    slicing: config.Slice,
    gate: config.Gate,
    features: config.Features,
    device: str,
    require_gpu: bool,
    threads: int,
    broken_clips: config.BrokenClips = "stop",
    elsewhere: Mapping[str, str] | None = None,
) -> None:
    """Compute the log-mel frames of all clips of one machine and write its feature cache.

    Clips come into the cache in the order of `entries`. On the CPU each of `threads` threads works on a clip of its
    own, from file to frames, so the number of threads changes no bit; on a GPU several decode ahead of it.

    Parameters
    ----------
    entries
        The clips. Slices and gate apply to those without start and end.
    root
        Folder that the entries' paths are relative to.
    output
        The cache to write.
    audio, slicing, gate, features
        The settings; the cache records them.
    device, require_gpu
        Where to compute: see :func:`offnote.device.choose`.
    threads
        CPU threads to use.
    broken_clips
        ``stop`` where clips are broken, once all are found, or ``exclude`` them: the cache then lists them.
    elsewhere
        The files of entries whose paths are not below `root`, by these paths.

    Raises
    ------
    InputError
        A recording or a setting is wrong; the message names it.
    """
    set_threads(1)
    chosen = choose(device, require_gpu)
    log_mel = LogMel(features, audio.sample_rate, chosen)
    files = {entry.path: root / entry.path for entry in entries}
    files |= {path: Path(file) for path, file in (elsewhere or {}).items()}
    with _AtOnce() if threads == 1 else ThreadPoolExecutor(threads) as pool:

        def plan(entry: Entry) -> _Plan:
            return _planned(entry, files[entry.path], audio, slicing, gate)

        outcomes = _in_order(pool, _or_broken(plan), entries, 2 * threads)
        plans, unplanned = _apart(entries, progress(outcomes, len(entries), "recordings looked for"))
        clips = [clip for plan in plans for clip in plan.clips]
        gated_seconds = sum(plan.gated_seconds for plan in plans)
        log.info("%d clips of %d entries, %.1f s gated out", len(clips), len(entries), gated_seconds)
        cached = chain(unplanned, progress(_cached(clips, pool, 2 * threads, audio, log_mel), len(clips), "clips"))
        write(
            output,
            cached if broken_clips == "exclude" else _none_broken(cached, files),
            feature_settings(audio, slicing, gate, features),
            n_mels=features.n_mels,
            dtype=features.dtype,
            computed_on=chosen.type,
            gated_seconds=gated_seconds,
        )


def _planned(entry: Entry, path: Path, audio: config.Audio, slicing: config.Slice, gate: config.Gate) -> _Plan:
    if entry.start is None and slicing.length is None and gate.level is None:
        # Its header is read as it is decoded; one that is missing is to be noticed before all that work.
        require_readable(path)
        return _Plan([_Clip(entry, path, first=0, last=None)])
    recording = info(path)
    if entry.start is not None:
        return _Plan([_Clip(entry, path, *recording.sample_range(entry.start, entry.end))])
    ranges, gated_seconds = slices(path, audio, slicing, gate)
    if not ranges:
        log.warning("%s: the gate leaves no slice of it, so it has no clip", entry.path)
    rate = recording.sample_rate
    clips = [_Clip(replace(entry, start=first / rate, end=last / rate), path, first, last) for first, last in ranges]
    return _Plan(clips, gated_seconds)


def _apart(entries: Iterable[Entry], outcomes: Iterable[_Plan | BrokenClipError]) -> tuple[list[_Plan], list[Excluded]]:
    plans: list[_Plan] = []
    unplanned: list[Excluded] = []
    for entry, outcome in zip(entries, outcomes, strict=True):
        if isinstance(outcome, BrokenClipError):
            unplanned.append(_excluded(entry, outcome))
        else:
            plans.append(outcome)
    return plans, unplanned


def _log_counts(recordings: Sequence[Recording], audio: config.Audio) -> None:
    """Count the clips by rate and channels of their recordings."""
    for rate, count in sorted(Counter(recording.sample_rate for recording in recordings).items()):
        resampled = rate != audio.sample_rate and audio.other_rates == "resample"
        to_be = f", resampled to {audio.sample_rate} Hz" if resampled else ", refused"
        log.info("clips at %d Hz%s: %d", rate, "" if rate == audio.sample_rate else to_be, count)
        if resampled and rate < audio.sample_rate:
            log.warning(
                "above %d Hz they are empty; set audio.sample_rate: %d if all recordings are so", rate // 2, rate
            )
    for number, count in sorted(Counter(recording.channels for recording in recordings).items()):
        log.info("clips from %d-channel recordings: %d", number, count)


def _none_broken(clips: Iterable[CachedClip | Excluded], files: Mapping[str, Path]) -> Iterator[CachedClip | Excluded]:
    """Pass clips on and, at their end, stop where some are broken: so one run finds all that are to be mended."""
    broken: dict[str, list[Path]] = {}  # once for each clip
    for clip in clips:
        if isinstance(clip, Excluded):
            broken.setdefault(clip.reason, []).append(files[clip.entry.path])
        yield clip
    if broken:
        total = sum(map(len, broken.values()))
        count = "" if total == 1 else f"{total} clips are broken. "
        alike = [f"{first_of(list(dict.fromkeys(paths)))}: {reason}" for reason, paths in broken.items()]
        named = ". ".join(alike[:NAMED]) + ("; the log names all" if total > min(NAMED, len(alike)) else "")
        raise InputError(f"{count}{named}. To go on without such clips, set dataset.broken_clips: exclude")


def _cached(
    clips: Sequence[_Clip], pool: Executor, ahead: int, audio: config.Audio, log_mel: LogMel
) -> Iterator[CachedClip | Excluded]:
    hashes: dict[Path, Future[str]] = {}
    opened: list[Recording] = []  # one for each clip

    def decode(clip: _Clip) -> NDArray[np.float32]:
        return _decoded(clip, audio, log_mel, opened.append)

    def hashed_on_the_way() -> Iterator[_Clip]:
        for clip in clips:
            if clip.path not in hashes:
                hashes[clip.path] = pool.submit(sha256_of, clip.path)
            yield clip

    transformed = _one_by_one if log_mel.device.type == "cpu" else _in_batches
    outcomes = transformed(hashed_on_the_way(), pool, ahead, decode, log_mel)
    seen: dict[str, Entry] = {}
    told: set[Path] = set()
    for clip, outcome in zip(clips, outcomes, strict=True):
        if isinstance(outcome, _Transformed) and not np.isfinite(outcome.frames).all():
            outcome = BrokenClipError(clip.path, "its log-mel spectrogram is not finite, samples are far out of range")
        if isinstance(outcome, BrokenClipError):
            yield _excluded(clip.entry, outcome)
        else:
            sha256 = hashes[clip.path].result()
            first = seen.setdefault(sha256, clip.entry)
            if first.path != clip.entry.path and first.split != clip.entry.split and clip.path not in told:
                told.add(clip.path)
                log.warning(COPY, clip.entry.path, clip.entry.split, first.path, first.split)
            yield CachedClip(clip.entry, sha256, outcome.samples, outcome.frames)
    _log_counts(opened, audio)


def _excluded(entry: Entry, broken: BrokenClipError) -> Excluded:
    log.warning("broken: %s", broken)
    return Excluded(entry, broken.reason)


def _or_broken(function: Callable[[T], R]) -> Callable[[T], R | BrokenClipError]:
    """Return a function that hands a broken clip's exception over as its result, in the clip's place."""

    def guarded(item: T) -> R | BrokenClipError:
        try:
            return function(item)
        except BrokenClipError as broken:
            return broken

    return guarded


def _one_by_one(
    clips: Iterable[_Clip], pool: Executor, ahead: int, decode: _Decode, log_mel: LogMel
) -> Iterator[_Transformed | BrokenClipError]:
    """Give the frames of each clip, computed where it was decoded, in one of the threads."""

    def transformed(clip: _Clip) -> _Transformed:
        samples = decode(clip)
        return _Transformed(len(samples), log_mel(torch.from_numpy(samples)[None])[0].numpy())

    return _in_order(pool, _or_broken(transformed), clips, ahead)


def _in_batches(
    clips: Iterable[_Clip], pool: Executor, ahead: int, decode: _Decode, log_mel: LogMel
) -> Iterator[_Transformed | BrokenClipError]:
    """Give the frames of each clip, computed in batches while the threads decode the next ones.

    The device begins with a batch before the frames of the one before are asked of it: of two batches in a row, each on
    its own stream, one is copied while the other is computed.
    """
    device = log_mel.device
    streams: Iterator[torch.cuda.Stream | None] = repeat(None)
    if device.type == "cuda":
        streams = cycle([torch.cuda.Stream(device), torch.cuda.Stream(device)])  # type: ignore[no-untyped-call]
    begun: deque[Callable[[], Iterable[_Transformed | BrokenClipError]]] = deque()
    for batch in _batches(_in_order(pool, _or_broken(decode), clips, ahead)):
        begun.append(_begin(batch, log_mel, next(streams)))
        if len(begun) > 1:
            yield from begun.popleft()()
    while begun:
        yield from begun.popleft()()


def _begin(
    batch: Sequence[NDArray[np.float32]] | BrokenClipError, log_mel: LogMel, stream: torch.cuda.Stream | None
) -> Callable[[], Iterable[_Transformed | BrokenClipError]]:
    """Let the device begin with a batch, and return what waits for its frames."""
    if isinstance(batch, BrokenClipError):
        return lambda: [batch]
    samples = torch.from_numpy(np.stack(batch))
    if stream is None:
        computed = log_mel(samples.to(log_mel.device))
        return lambda: _by_clip(computed.cpu(), samples)
    with torch.cuda.stream(stream):
        computed = log_mel(samples.pin_memory().to(log_mel.device, non_blocking=True))
        # Into pinned memory: a copy into any other would wait for the device.
        frames = torch.empty_like(computed, device="cpu", pin_memory=True).copy_(computed, non_blocking=True)
        done = stream.record_event()

    def wait() -> Iterable[_Transformed]:
        done.synchronize()
        return _by_clip(frames, samples)

    return wait


def _by_clip(frames: Tensor, samples: Tensor) -> list[_Transformed]:
    return [_Transformed(samples.shape[-1], of_clip) for of_clip in frames.numpy()]


def _decoded(
    clip: _Clip, audio: config.Audio, log_mel: LogMel, noted: Callable[[Recording], None]
) -> NDArray[np.float32]:
    samples = read(clip.path, audio, clip.first, clip.last, noted)
    if len(samples) < log_mel.fewest_samples:
        raise BrokenClipError(
            clip.path,
            f"{len(samples)} samples are too few, the padding needs {log_mel.fewest_samples}; "
            "take the clip out or set features.padding: zeros",
        )
    return samples


def _batches(
    decoded: Iterable[NDArray[np.float32] | BrokenClipError],
) -> Iterator[list[NDArray[np.float32]] | BrokenClipError]:
    """Gather neighbours of one length, up to `BATCH_SAMPLES` samples at once; a broken clip stands by itself."""
    batch: list[NDArray[np.float32]] = []
    for samples in decoded:
        if batch and (isinstance(samples, BrokenClipError) or not _fits(samples, batch)):
            yield batch
            batch = []
        if isinstance(samples, BrokenClipError):
            yield samples
        else:
            batch.append(samples)
    if batch:
        yield batch


def _fits(samples: NDArray[np.float32], batch: Sequence[NDArray[np.float32]]) -> bool:
    return len(samples) == len(batch[0]) and (len(batch) + 1) * len(samples) <= BATCH_SAMPLES


class _AtOnce(Executor):
    """A pool for one thread: the one that asks. Another would take turns with it at Python, and help it with little."""

    def submit(self, function: Callable[..., R], /, *args: Any, **options: Any) -> Future[R]:
        done = Future[R]()
        try:
            done.set_result(function(*args, **options))
        except Exception as error:  # noqa: BLE001 - kept for whoever asks for the result, as by every pool
            done.set_exception(error)
        return done


def _in_order(pool: Executor, function: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """Map in the pool, at most `ahead` items ahead of whoever takes the results."""
    if isinstance(pool, _AtOnce):
        # There is nothing to wait for.
        yield from map(function, items)
        return
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
