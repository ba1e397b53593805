"""Recordings as samples: decoding, one channel of many, resampling, slices and the gate.

WAV, FLAC, OGG and their like are welcome, with 8 to 32 bits or floats. A recording that is broken, silent or cut short
is refused with a sentence that names it; none is ever filled up.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import FileIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from numpy.typing import NDArray

from offnote import config
from offnote.errors import BrokenClipError, InputError

if TYPE_CHECKING:
    import torch

BLOCK_SAMPLES = 2**20
GATE_SECONDS = 0.1

# Programs that write to a pipe cannot know the length; they leave a length near these limits in the header.
UNKNOWN_LENGTHS = (range(0x7FFF0000, 0x80000001), range(0xFFFF0000, 0x100000000))
# What libsndfile takes for the samples of a FLAC file that was written to a pipe.
ENDLESS = 2**63 - 1
# libsndfile quietly shortens a file whose header promises more than there is, and says so in its log alone.
SHORTENED = re.compile(r"^\s*(?:data|SSND|riff|Riff size|Data Size) +: (\d+) \(should be (\d+)\)", re.MULTILINE)
# Formats of which it is noticed when a file is cut short; of others, such as MP3, libsndfile reads what is left.
FORMATS = ("WAV", "WAVEX", "RF64", "W64", "FLAC", "OGG", "AIFF", "AU")

# An Ogg page: its header, up to 255 lengths of segments, and the segments, each of up to 255 bytes.
# The zero is its version: the four letters alone may stand in a page by chance.
OGG_PAGE = b"OggS\0"
OGG_HEADER_BYTES = 27
OGG_STREAM = slice(14, 18)
OGG_NUMBER = slice(18, 22)
OGG_CHECKSUM = slice(22, 26)
OGG_FLAGS = 5
OGG_LAST_PAGE = 4
"""The flag of the page that ends a stream."""
SEVERAL_STREAMS = "several Ogg streams in one file, of which only one would be read; convert it to WAV"
BITS_TURNED_ROUND = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

# Values of torchaudio's resampling filter, about the product of both rates less what they have in common: 71,000 from
# 44.1 to 16 kHz, and 700 million from 44,101 Hz, a rate that only a damaged header states.
LARGEST_FILTER = 2**24

# The filter of librosa's `kaiser_best`. From 44.1 to 16 kHz a tone at 9 kHz leaves an alias at -118 dB with it, and at
# -17 dB with torchaudio's default.
RESAMPLING = {
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 14.769656459379492,
}

_Decoded = NDArray[np.int16] | NDArray[np.float32]
"""Samples of all channels, as libsndfile hands them over: (samples, channels)."""


@dataclass(frozen=True)
class Recording:
    """What a file's header says: samples per second, channels, and samples in each channel."""

    sample_rate: int
    channels: int
    samples: int

    def sample_range(self, start: float | None, end: float | None) -> tuple[int, int]:
        """Return first sample and end of a stretch given in seconds, rounded to samples; None means the recording's.

        Examples
        --------
        >>> Recording(16000, 1, 160000).sample_range(0.5, None)
        (8000, 160000)
        """
        first = 0 if start is None else round(start * self.sample_rate)
        last = self.samples if end is None else round(end * self.sample_rate)
        return first, last


def require_readable(path: Path) -> None:
    """Tell a recording that is not there, as when a disk is not mounted, from one that is broken.

    Raises
    ------
    InputError
        The file is missing, or may not be read.
    """
    try:
        FileIO(path).close()
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such recording; mend the path or take it out of the list") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); mend its permissions or its disk") from error


def info(path: Path) -> Recording:
    """Read a recording's header.

    Raises
    ------
    InputError
        The file is missing, unreadable or empty, or it is shorter than its header says.
    """
    with _opened(path) as file:
        return _header(file)


def read(
    path: Path,
    audio: config.Audio,
    first: int = 0,
    last: int | None = None,
    noted: Callable[[Recording], None] = lambda _: None,
) -> NDArray[np.float32]:
    """Decode a recording, or a stretch of it, to one channel of samples between -1 and 1.

    A stretch is cut out before it is resampled, so its samples are those of a file that holds the stretch alone.

    Parameters
    ----------
    path
        The recording.
    audio
        Channel, sample rate, and whether recordings of other rates are resampled.
    first, last
        First sample and end of the stretch, counted at the file's own rate. `last` None: the end of the recording.
    noted
        Is told what the header says, where it can be read, also that of a recording that is then refused for it.

    Returns
    -------
    float32 array, (samples,)
        At `audio.sample_rate`.

    Raises
    ------
    InputError
        The file cannot be read to its end, is of a refused rate, lacks the channel or the stretch, holds a value that
        is not finite, or one value all over.
    """
    with _opened(path) as file:
        noted(_header(file))
        last = file.frames if last is None else last
        if not 0 <= first < last <= file.frames:
            raise BrokenClipError(
                path,
                f"it is {file.frames / file.samplerate:.6g} s long, and {first / file.samplerate:.6g} to "
                f"{last / file.samplerate:.6g} s of it were asked for; mend start and end of this clip",
            )
        _check_rate(path, file.samplerate, audio)
        if last - first > BLOCK_SAMPLES:
            _check_end(path, file, last)
        samples = np.empty(last - first, dtype=np.float32)
        filled = 0
        for block in _blocks(path, file, audio, first, last, max(1, BLOCK_SAMPLES // file.channels)):
            _one_channel(block, audio, out=samples[filled : filled + len(block)])
            filled += len(block)
        rate = file.samplerate
    lowest, highest = samples.min(), samples.max()
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise BrokenClipError(path, f"a sample from {first} to {last} is not finite; take it out or copy it anew")
    # A converter without a microphone gives a constant, which need not be zero.
    if lowest == highest:
        raise BrokenClipError(
            path,
            f"silent, every sample from {first} to {last} of channel {audio.channel} is {lowest + 0.0:g}; take it out, "
            "or leave such stretches of a long recording out with gate.level",
        )
    return samples if rate == audio.sample_rate else _resample(samples, rate, audio.sample_rate)


def _header(file: soundfile.SoundFile) -> Recording:
    return Recording(file.samplerate, file.channels, file.frames)


def _check_rate(path: Path, rate: int, audio: config.Audio) -> None:
    """Refuse a recording of a rate that is not wanted, or that has next to no common measure with the wanted one."""
    if rate == audio.sample_rate:
        return
    if audio.other_rates == "refuse":
        raise BrokenClipError(
            path,
            f"its sample rate is {rate} Hz and audio.sample_rate {audio.sample_rate}; "
            "set audio.other_rates: resample, or take the recording out",
        )
    common = math.gcd(rate, audio.sample_rate)
    if rate // common * (audio.sample_rate // common) > LARGEST_FILTER:
        raise BrokenClipError(
            path,
            f"its sample rate is {rate} Hz, which is not resampled to {audio.sample_rate} Hz: the filter would be too "
            "large; correct its header, or convert it to a usual rate",
        )


def _check_end(path: Path, file: soundfile.SoundFile, last: int) -> None:
    """Look for the last sample, before there is room made for as many as a header speaks of."""
    file.seek(last - 1)
    if not len(file.read(1)):
        raise BrokenClipError(path, f"cut short, it ends before sample {last} of {file.frames}; copy it anew")


def slices(
    path: Path, audio: config.Audio, slicing: config.Slice, gate: config.Gate
) -> tuple[list[tuple[int, int]], float]:
    """Find the slices of a recording: all of it, or only where the machine is on.

    The recording is read block by block, never as a whole.

    Parameters
    ----------
    path
        The recording.
    audio
        Says which channel the gate listens to.
    slicing
        Length and hop of the slices. They are laid from the start of each stretch that is on; a rest is left out.
    gate
        The machine is on where the level over 0.1 s reaches `gate.level`; pauses up to `gate.hold` do not count.

    Returns
    -------
    ranges : list of (int, int)
        First sample and end of each slice, at the file's own rate. Without slicing one range: the whole recording.
    gated_seconds : float
        How much of the recording the gate left out.

    Raises
    ------
    InputError
        There is a gate and no slice length, the recording is shorter than one slice, or it cannot be read.
    """
    recording = info(path)
    if slicing.length is None:
        if gate.level is not None:
            raise InputError(
                "gate.level is set and slice.length is not: the gate works on slices, so set both or neither"
            )
        return [(0, recording.samples)], 0.0
    if recording.samples < round(slicing.length * recording.sample_rate):
        seconds = recording.samples / recording.sample_rate
        raise BrokenClipError(path, f"{seconds:g} s are shorter than slice.length {slicing.length:g} s; take it out")
    stretches = [(0, recording.samples)] if gate.level is None else _stretches_on(path, audio, gate.level, gate.hold)
    on = sum(last - first for first, last in stretches)
    hop = slicing.length if slicing.hop is None else slicing.hop
    ranges = [found for each in stretches for found in _laid(*each, slicing.length, hop, recording.sample_rate)]
    return ranges, (recording.samples - on) / recording.sample_rate


def _laid(first: int, last: int, length: float, hop: float, rate: int) -> Iterator[tuple[int, int]]:
    """Lay slices from `first` on; each start is rounded by itself, so that they do not drift."""
    samples = round(length * rate)
    for number in count():
        start = first + round(number * hop * rate)
        if start + samples > last:
            return
        yield start, start + samples


def _stretches_on(path: Path, audio: config.Audio, level: float, hold: float) -> list[tuple[int, int]]:
    with _opened(path) as file:
        block = round(GATE_SECONDS * file.samplerate)
        blocks = _blocks(path, file, audio, 0, file.frames, block)
        # About their mean: an offset is no sound.
        with np.errstate(invalid="ignore"):
            power = np.array([_one_channel(samples, audio).var(dtype=np.float64) for samples in blocks])
        if file.frames % block and len(power) > 1:
            power[-1] = power[-2]  # Too few samples to tell.
        # What is not finite counts as on: so its slice is found broken when it is read, and the others are not.
        on = np.flatnonzero(~(power < 10 ** (level / 10)))
        if not on.size:
            return []
        off_seconds = (np.diff(on) - 1) * block / file.samplerate
        long_pauses = np.flatnonzero(off_seconds > hold)
        starts = on[[0, *(long_pauses + 1)]] * block
        ends = np.minimum((on[[*long_pauses, -1]] + 1) * block, file.frames)
        return list(zip(starts.tolist(), ends.tolist(), strict=True))


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open a recording for reading; what libsndfile raises then and later becomes an InputError."""
    require_readable(path)
    if path.suffix.lower() == ".raw":
        raise BrokenClipError(path, "a RAW file does not say its rate, nor its number of channels; convert it to WAV")
    try:
        with soundfile.SoundFile(path) as file:
            if file.format not in FORMATS:
                raise BrokenClipError(
                    path, f"a file of format {file.format} may be cut short unnoticed; convert it to WAV, FLAC or OGG"
                )
            if file.format == "OGG":
                _require_one_whole_stream(path)
            for promised, found in SHORTENED.findall(file.extra_info):
                if int(found) < int(promised) and not any(int(promised) in unknown for unknown in UNKNOWN_LENGTHS):
                    raise BrokenClipError(path, f"cut short, {found} of {promised} bytes are there; copy it anew")
            if file.frames == ENDLESS:
                raise BrokenClipError(
                    path, "its header does not say how long it is, so a cut would go unnoticed; convert it to WAV"
                )
            if file.frames == 0:
                raise BrokenClipError(
                    path,
                    "empty, its header tells of no samples; take it out or, where a recorder had no time to finish the "
                    "header, mend it, as with ffmpeg",
                )
            yield file
    except soundfile.LibsndfileError as error:
        if path.stat().st_size == 0:
            raise BrokenClipError(path, "empty, it holds no bytes; take it out or copy it anew") from error
        reason = error.error_string.strip() or "decoding failed"
        raise BrokenClipError(
            path, f"damaged, or no audio file ({reason}); copy it anew, or convert it to WAV"
        ) from error


def _require_one_whole_stream(path: Path) -> None:
    """Refuse an Ogg file of which libsndfile would pass over a part, and take the rest for all there is."""
    state = path.stat()
    if fault := _fault_in_pages(path, state.st_size, state.st_mtime_ns):
        raise BrokenClipError(path, fault)


# Once for a recording's header and all of its slices, unless it is another file by then.
@cache
def _fault_in_pages(path: Path, size: int, date: int) -> str:  # noqa: ARG001
    """Say what is wrong with the pages of an Ogg file, if anything: damaged or lost ones leave no gap in its sound."""
    stream, number = None, 0
    with path.open("rb") as file:
        while True:
            page = file.read(OGG_HEADER_BYTES)
            lengths = file.read(page[-1]) if len(page) == OGG_HEADER_BYTES else b""
            page += lengths + file.read(sum(lengths))
            if not page.startswith(OGG_PAGE) or _ogg_checksum(page) != int.from_bytes(page[OGG_CHECKSUM], "little"):
                return f"cut short or damaged, Ogg page {number} (from 0) is not as it was written; copy it anew"
            if page[OGG_STREAM] != (stream := stream or page[OGG_STREAM]):
                return SEVERAL_STREAMS
            if int.from_bytes(page[OGG_NUMBER], "little") != number:
                return f"damaged, Ogg page {number} (from 0) is not there; copy it anew, or convert it to WAV"
            if page[OGG_FLAGS] & OGG_LAST_PAGE:
                return SEVERAL_STREAMS if OGG_PAGE in file.read() else ""
            number += 1


def _ogg_checksum(page: bytes) -> int:
    """Return the CRC-32 of a page, its own place in it blank: zlib's, with all bits the other way round, unmasked."""
    blank = page[: OGG_CHECKSUM.start] + bytes(4) + page[OGG_CHECKSUM.stop :]
    turned = zlib.crc32(blank.translate(BITS_TURNED_ROUND), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{turned:032b}"[::-1], 2)


def _blocks(
    path: Path, file: soundfile.SoundFile, audio: config.Audio, first: int, last: int, size: int
) -> Iterator[_Decoded]:
    """Decode in blocks, so that the other channels of a long recording never are in memory at once."""
    if audio.channel != "mean" and audio.channel >= file.channels:
        raise BrokenClipError(
            path, f"audio.channel is {audio.channel}, and the last of its channels is {file.channels - 1}"
        )
    file.seek(first)
    for start in range(first, last, size):
        wanted = min(size, last - start)
        block = file.read(wanted, dtype="int16" if file.subtype == "PCM_16" else "float32", always_2d=True)
        if len(block) < wanted:
            raise BrokenClipError(
                path, f"cut short, it ends at sample {start + len(block)} of {file.frames}; copy it anew"
            )
        yield block


def _one_channel(block: _Decoded, audio: config.Audio, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    if audio.channel == "mean":
        mean: NDArray[np.float32] = _as_float(block).mean(axis=1, out=out)
        return mean
    return _as_float(block[:, audio.channel], out)


def _as_float(samples: _Decoded, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """Return 16-bit samples as libsndfile's floats, bit for bit, in a third of the time that it takes."""
    out = np.empty(samples.shape, dtype=np.float32) if out is None else out
    out[...] = samples
    if samples.dtype == np.int16:
        out *= np.float32(2**-15)
    return out


def _resample(samples: NDArray[np.float32], rate: int, wanted: int) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        resampled: NDArray[np.float32] = _resampler(rate, wanted)(torch.from_numpy(samples)).numpy()
    return resampled


@cache
def _resampler(rate: int, wanted: int) -> torch.nn.Module:
    from torchaudio.transforms import Resample

    resampler: torch.nn.Module = Resample(rate, wanted, **RESAMPLING)
    return resampler
