from __future__ import annotations

import re
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from offnote import audio, config
from offnote.errors import BrokenClipError, InputError

RATE = 16000
Samples = NDArray[np.float32]


def settings(**changes: Any) -> config.Audio:
    return config.Audio(**{"sample_rate": RATE, "channel": 0} | changes)


def noise(*shape: int, seed: int = 0) -> Samples:
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).clip(-0.9, 0.9).astype(np.float32)


def write(path: Path, samples: Samples, rate: int = RATE, subtype: str | None = None) -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def tone(frequency: float, rate: int, seconds: float = 1.0) -> Samples:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "subtype", "error"),
    [
        ("a.wav", "PCM_U8", 2**-7),
        ("a.wav", "PCM_16", 2**-15),
        ("a.wav", "PCM_24", 2**-23),
        ("a.wav", "PCM_32", 2**-24),
        ("a.wav", "FLOAT", 0),
        ("a.wav", "DOUBLE", 0),
        ("a.flac", "PCM_S8", 2**-7),
        ("a.flac", "PCM_16", 2**-15),
        ("a.flac", "PCM_24", 2**-23),
    ],
)
def test_every_width_is_read_as_float(tmp_path: Path, name: str, subtype: str, error: float) -> None:
    samples = noise(5000)
    path = write(tmp_path / name, samples, subtype=subtype)
    decoded = audio.read(path, settings())
    assert decoded.dtype == np.float32
    assert np.abs(decoded - samples).max() <= error
    assert np.array_equal(decoded, soundfile.read(path, dtype="float32")[0])
    assert audio.info(path) == audio.Recording(RATE, 1, 5000)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_a_stretch_is_what_the_whole_holds_there(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, noise(40000))
    assert np.array_equal(audio.read(path, settings(), 12345, 23456), audio.read(path, settings())[12345:23456])


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_a_stretch_is_resampled_as_a_file_of_its_own(tmp_path: Path, rate: int) -> None:
    samples = noise(3 * rate)
    whole = write(tmp_path / "whole.wav", samples, rate, "FLOAT")
    cut = write(tmp_path / "cut.wav", samples[rate : 2 * rate], rate, "FLOAT")
    stretch = audio.read(whole, settings(), rate, 2 * rate)
    assert len(stretch) == RATE
    assert np.array_equal(stretch, audio.read(cut, settings()))


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resampling_keeps_a_tone_and_adds_none(tmp_path: Path, rate: int) -> None:
    path = write(tmp_path / "tone.wav", tone(3000, rate), rate, "FLOAT")
    difference = (audio.read(path, settings()) - tone(3000, RATE))[1000:-1000]
    assert 20 * np.log10(np.sqrt(2) * 2 * difference.std()) < -90


def test_resampling_lets_nothing_from_above_through(tmp_path: Path) -> None:
    path = write(tmp_path / "tone.wav", tone(9000, 48000), 48000, "FLOAT")
    assert np.abs(audio.read(path, settings())[1000:-1000]).max() < 1e-5


@pytest.mark.parametrize("block", [1, 7, 4096])
def test_channels_are_taken_or_averaged_in_blocks(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", block)
    samples = noise(1000, 8)
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    assert np.array_equal(audio.read(path, settings(channel=6)), samples[:, 6])
    assert np.array_equal(audio.read(path, settings(channel="mean")), samples.mean(axis=1))


def test_many_channels_are_never_in_memory_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.tile(noise(60 * RATE, 1), 16), subtype="PCM_16")
    tracemalloc.start()
    audio.read(path, settings(channel="mean"))
    audio.slices(path, settings(), config.Slice(length=10.0), config.Gate(level=-50.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    one_channel = 60 * RATE * 4
    assert peak < one_channel + 3 * 4 * audio.BLOCK_SAMPLES < 16 * one_channel


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    samples, silent = noise(RATE), np.zeros(RATE, dtype=np.float32)
    not_finite = {name: samples.copy() for name in ("nan", "inf", "-inf")}
    for name, values in not_finite.items():
        values[777] = float(name)
    wave = write(folder / "good.wav", samples).read_bytes()
    flac = write(folder / "good.flac", samples).read_bytes()
    contents = {"junk.wav": b"?" * 999, "nothing.wav": b"", "header.wav": wave[:44], "cut.wav": wave[:20000]}
    contents["there.RAW"] = wave[44:]
    for name, content in (contents | {"cut.flac": flac[: len(flac) // 2]}).items():
        (folder / name).write_bytes(content)
    (folder / "folder.wav").mkdir()
    return {
        "missing": (folder / "missing.wav", "no such recording"),
        "folder": (folder / "folder.wav", r"cannot be read \(Is a directory\)"),
        "missing, without a header": (folder / "missing.raw", "no such recording"),
        "without a header": (folder / "there.RAW", "does not say its rate"),
        "junk": (folder / "junk.wav", "no audio file"),
        "zero bytes": (folder / "nothing.wav", "empty, it holds no bytes"),
        "header alone": (folder / "header.wav", "cut short"),
        "half a WAV": (folder / "cut.wav", r"cut short, 19956 of 32000 bytes"),
        "half a FLAC": (folder / "cut.flac", "damaged"),
        "no samples": (write(folder / "empty.wav", samples[:0]), "empty"),
        "not a number": (write(folder / "nan.wav", not_finite["nan"], subtype="FLOAT"), "not finite"),
        "infinite": (write(folder / "inf.wav", not_finite["inf"], subtype="FLOAT"), "not finite"),
        "infinitely low": (write(folder / "low.wav", not_finite["-inf"], subtype="FLOAT"), "not finite"),
        "silent": (write(folder / "silent.wav", silent), "silent, every sample .* is 0"),
        "signed zeros": (
            write(folder / "signed.wav", silent * np.where(samples > 0, 1, -1), subtype="FLOAT"),
            "silent, every sample .* is 0;",
        ),
        "constant": (write(folder / "constant.wav", silent + 0.25), r"silent, every sample .* is 0\.25"),
    }


@pytest.mark.parametrize(
    "fault",
    [
        "missing",
        "folder",
        "missing, without a header",
        "without a header",
        "junk",
        "zero bytes",
        "header alone",
        "half a WAV",
        "half a FLAC",
        "no samples",
        "not a number",
        "infinite",
        "infinitely low",
        "silent",
        "signed zeros",
        "constant",
    ],
)
def test_a_broken_recording_is_named(tmp_path: Path, fault: str) -> None:
    path, sentence = broken_files(tmp_path)[fault]
    with pytest.raises(InputError, match=sentence) as caught:
        audio.read(path, settings())
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        *[("OGG", "VORBIS"), ("OGG", "OPUS"), ("WAV", "PCM_16"), ("RF64", "PCM_16"), ("W64", "FLOAT")],
        *[("FLAC", "PCM_24"), ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("AU", "ULAW")],
    ],
)
def test_a_recording_cut_short_anywhere_is_refused(tmp_path: Path, kind: str, subtype: str) -> None:
    path = tmp_path / f"a.{kind.lower()}"
    soundfile.write(path, noise(5 * RATE), RATE, format=kind, subtype=subtype)
    whole = path.read_bytes()
    assert len(audio.read(path, settings())) == 5 * RATE
    pages = [found.start() for found in re.finditer(b"OggS", whole)] if kind == "OGG" else []
    # In a page and its header, at its very end, and anywhere.
    places = [place + past for place in pages[1:] for past in (0, 3, 20, 28)]
    for place in [*places, *range(60, len(whole) - 1, len(whole) // 23), len(whole) - 200]:
        path.write_bytes(whole[:place])
        with pytest.raises(InputError, match=r"cut short|damaged, or no audio file|empty"):
            audio.read(path, settings())


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_damaged_or_lost_page_is_noticed(tmp_path: Path, subtype: str) -> None:
    """libsndfile passes over such a page, and says of the first or last one that the recording is shorter by it."""
    path = tmp_path / "a.ogg"
    soundfile.write(path, noise(2 * RATE), RATE, format="OGG", subtype=subtype)
    whole = path.read_bytes()
    starts = [found.start() for found in re.finditer(b"OggS", whole)]
    first, last = starts[2], starts[-1]
    places = [*range(first, starts[3], 97), *range(last, len(whole), 5)]
    damaged = [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in places]
    lost = [whole[:start] + whole[end:] for start, end in pairwise([*starts, len(whole)])]
    for content in [*damaged, *lost, whole[:-300] + bytes(300)]:
        path.write_bytes(content)
        with pytest.raises(BrokenClipError, match=r"Ogg page \d+ \(from 0\) is not|damaged, or no audio file"):
            audio.info(path)
    path.write_bytes(whole)
    assert len(audio.read(path, settings())) == 2 * RATE


@pytest.mark.parametrize("rate", [15_999, 44_101, 999_983, 2**31 - 1])
def test_a_rate_that_only_a_damaged_header_states_is_refused(tmp_path: Path, rate: int) -> None:
    path = write(tmp_path / "a.wav", noise(1600))
    content = bytearray(path.read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(BrokenClipError, match=f"its sample rate is {rate} Hz, which is not resampled to 16000"):
        audio.read(path, settings())


@pytest.mark.parametrize("rate", [8000, 11_025, 12_345, 22_050, 44_100, 48_000, 192_000])
def test_usual_rates_are_resampled(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", noise(rate), rate)
    assert len(audio.read(tmp_path / "a.wav", settings())) == pytest.approx(RATE, abs=1)


def test_there_is_no_room_made_for_samples_that_a_header_makes_up(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(RATE), RATE)
    content = bytearray(path.read_bytes())
    # The last 36 bits of the eighteen bytes that follow the header of STREAMINFO: the number of samples.
    content[21] |= 0x0F
    content[22:26] = b"\xff\xff\xff\xf0"
    path.write_bytes(content)
    with pytest.raises(BrokenClipError, match=r"a\.flac: (cut short|damaged)"):
        audio.read(path, settings())


def test_a_format_that_hides_a_cut_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", noise(RATE), RATE)
    with pytest.raises(InputError, match=r"a\.mp3: a file of format MP3 may be cut short unnoticed; convert it"):
        audio.info(tmp_path / "a.mp3")


def test_a_value_that_is_not_finite_breaks_its_slice_alone(tmp_path: Path) -> None:
    samples = tone(1000, RATE, 20.0)
    samples[: 5 * RATE] = 0
    samples[11 * RATE] = np.nan
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    ranges, gated = audio.slices(path, settings(), config.Slice(length=2.0), config.Gate(level=-20.0))
    assert gated == pytest.approx(5.0, abs=0.1)
    assert len(ranges) == 7
    for first, last in ranges:
        if first <= 11 * RATE < last:
            with pytest.raises(InputError, match=r"a\.wav: a sample from \d+ to \d+ is not finite"):
                audio.read(path, settings(), first, last)
        else:
            assert np.isfinite(audio.read(path, settings(), first, last)).all()


@pytest.mark.parametrize("length", [0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFDB, 0xFFFFFFFF])
def test_a_length_that_a_pipe_could_not_know_is_no_fault(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "piped.wav", noise(RATE))
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = length.to_bytes(4, "little")
    path.write_bytes(content)
    assert len(audio.read(path, settings())) == RATE


@pytest.mark.parametrize("length", [2_000_000_000, 3_000_000_000, 4_200_000_000])
def test_a_wav_of_gigabytes_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "long.wav", noise(RATE))
    content = bytearray(path.read_bytes())
    content[4:8] = (length + 36).to_bytes(4, "little")
    content[40:44] = length.to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(BrokenClipError, match=f"cut short, 32000 of {length} bytes are there"):
        audio.info(path)


@pytest.mark.parametrize(("kind", "sizes"), [("RF64", (20, 28)), ("W64", (16, 96))])
def test_what_is_longer_than_a_wav_can_be_and_cut_short_is_refused(
    tmp_path: Path, kind: str, sizes: tuple[int, int]
) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, noise(RATE), RATE, format=kind, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    for place in sizes:
        content[place : place + 8] = (5_000_000_000).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(BrokenClipError, match=r"cut short, \d+ of 5000000000 bytes are there"):
        audio.info(path)


def test_a_flac_of_unknown_length_is_refused(tmp_path: Path) -> None:
    """An encoder that writes to a pipe leaves the number of samples, the last 36 bits before the checksum, at zero."""
    path = write(tmp_path / "piped.flac", noise(RATE))
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(BrokenClipError, match=r"piped\.flac: its header does not say how long it is"):
        audio.slices(path, settings(), config.Slice(length=0.5), config.Gate())


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_what_follows_the_last_page_is_no_fault_unless_it_is_a_stream(tmp_path: Path, subtype: str) -> None:
    path, other = tmp_path / "a.ogg", tmp_path / "b.ogg"
    for one in (path, other):
        soundfile.write(one, noise(RATE), RATE, format="OGG", subtype=subtype)
    whole = path.read_bytes()
    for more in (bytes(1000), b"TAG" + 125 * b"OggS?"):
        path.write_bytes(whole + more)
        assert len(audio.read(path, settings())) == RATE
    path.write_bytes(whole + other.read_bytes())
    with pytest.raises(BrokenClipError, match=r"a\.ogg: several Ogg streams in one file"):
        audio.read(path, settings())


def test_an_offset_is_no_sound_to_the_gate(tmp_path: Path) -> None:
    sound = np.concatenate([noise(2 * RATE), np.zeros(2 * RATE, np.float32)]) + np.float32(0.1)
    ranges, gated = audio.slices(
        write(tmp_path / "a.wav", sound), settings(), config.Slice(length=1.0), config.Gate(level=-50.0)
    )
    assert (ranges, gated) == ([(0, RATE), (RATE, 2 * RATE)], 2.0)


def test_a_last_block_of_a_few_samples_is_on_as_the_one_before_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(50, 11_025, 10.0), 11_025)
    ranges, gated = audio.slices(path, settings(), config.Slice(length=5.0), config.Gate(level=-12.0))
    assert (len(ranges), gated) == (2, 0.0)


def test_what_the_settings_refuse_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(1000, 2), 8000)
    with pytest.raises(InputError, match=r"a\.wav: audio\.channel is 2, and the last of its channels is 1"):
        audio.read(path, settings(channel=2))
    with pytest.raises(InputError, match=r"a\.wav: its sample rate is 8000 Hz and audio\.sample_rate 16000"):
        audio.read(path, settings(other_rates="refuse"))
    with pytest.raises(InputError, match=r"a\.wav: it is 0\.125 s long, and 0\.1125 to 0\.125125 s"):
        audio.read(path, settings(), 900, 1001)


def test_seconds_become_samples_by_rounding() -> None:
    recording = audio.Recording(44100, 1, 441000)
    assert recording.sample_range(None, None) == (0, 441000)
    assert recording.sample_range(1.00001, 9.99999) == (44100, 441000)


def test_without_slicing_a_recording_is_one_clip(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(RATE))
    assert audio.slices(path, settings(), config.Slice(), config.Gate()) == ([(0, RATE)], 0.0)


@given(
    seconds=st.integers(10, 60), length=st.sampled_from([1.0, 2.5, 10.0]), hop=st.sampled_from([None, 0.7, 1.0, 3.3])
)
def test_slices_cover_a_recording_evenly(
    tmp_path_factory: pytest.TempPathFactory, seconds: int, length: float, hop: float | None
) -> None:
    rate = 1000
    path = write(tmp_path_factory.mktemp("slices") / "a.wav", noise(seconds * rate), rate)
    ranges, gated = audio.slices(path, settings(), config.Slice(length=length, hop=hop), config.Gate())
    step = hop or length
    assert ranges[0][0] == 0
    assert gated == 0
    assert {last - first for first, last in ranges} == {round(length * rate)}
    assert all(abs(first - number * step * rate) <= 0.5 for number, (first, _) in enumerate(ranges))
    assert ranges[-1][1] <= seconds * rate < ranges[-1][1] + step * rate + 1


def test_the_gate_leaves_out_where_the_machine_is_off(tmp_path: Path) -> None:
    level = np.repeat([0.0, 1, 0, 1, 0, 1, 0], [int(s * RATE) for s in (3, 4, 1.5, 4, 5, 3, 2.05)])
    path = write(tmp_path / "a.wav", (tone(1000, RATE, 22.55) * level).astype(np.float32))
    ranges, gated = audio.slices(path, settings(), config.Slice(length=2.0), config.Gate(level=-20.0, hold=2.0))
    starts = [3, 5, 7, 9, 17.5]
    assert ranges == [(int(s * RATE), int((s + 2) * RATE)) for s in starts]
    assert gated == pytest.approx(3 + 5 + 2.05, abs=0.1)


@pytest.mark.parametrize(("level", "slices"), [(-9.0, 0), (-9.1, 1)])
def test_the_level_is_that_of_full_scale(tmp_path: Path, level: float, slices: int) -> None:
    """A sine of amplitude 0.5 has an RMS level of -9.03 dB."""
    path = write(tmp_path / "a.wav", tone(1000, RATE, 2.0), subtype="FLOAT")
    ranges, _ = audio.slices(path, settings(), config.Slice(length=2.0), config.Gate(level=level))
    assert len(ranges) == slices


def test_the_gate_listens_to_the_channel_in_use(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.stack([tone(1000, RATE, 2.0), noise(2 * RATE) * 1e-4], axis=1))
    gate, slicing = config.Gate(level=-40.0), config.Slice(length=1.0)
    assert len(audio.slices(path, settings(channel=0), slicing, gate)[0]) == 2
    assert audio.slices(path, settings(channel=1), slicing, gate) == ([], 2.0)


def test_slices_that_cannot_be_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(RATE))
    with pytest.raises(InputError, match=r"a\.wav: 1 s are shorter than slice\.length 2 s"):
        audio.slices(path, settings(), config.Slice(length=2.0), config.Gate())
    with pytest.raises(InputError, match=r"gate\.level is set and slice\.length is not"):
        audio.slices(path, settings(), config.Slice(), config.Gate(level=-40.0))
