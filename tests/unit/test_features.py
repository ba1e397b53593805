from __future__ import annotations

import logging
import re
import shutil
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from offnote import audio, cache, config, features
from offnote.clips import Entry
from offnote.errors import InputError
from offnote.provenance import sha256_of

RATE = 16000
EPSILON = 2.220446049250313e-16
Samples = NDArray[np.float32]

MIMII = config.Features(
    n_fft=1024,
    hop_length=512,
    n_mels=64,
    power=2.0,
    f_min=0.0,
    f_max=None,
    mel_scale="slaney",
    mel_norm="slaney",
    padding="reflect",
    log="add",
    epsilon=EPSILON,
)
DCASE = MIMII.model_copy(update={"n_mels": 128, "log": "clamp", "padding": "zeros"})
VARIANTS: list[dict[str, Any]] = [
    {},
    {"padding": "zeros"},
    {"n_mels": 128, "log": "clamp"},
    {"n_mels": 128, "log": "clamp", "padding": "zeros"},
    {"power": 1.0},
    {"power": 0.7, "log": "clamp", "epsilon": 1e-10},
    {"mel_scale": "htk", "mel_norm": None},
    {"f_min": 50.0, "f_max": 7000.0, "n_fft": 2048, "hop_length": 300},
    {"n_fft": 1000, "hop_length": 333, "n_mels": 40},
]


def changed(**changes: Any) -> config.Features:
    return config.Features(**MIMII.model_dump() | changes)


def librosa_log_mel(samples: Samples, wanted: config.Features) -> NDArray[Any]:
    mel = librosa.feature.melspectrogram(
        y=samples,
        sr=RATE,
        n_fft=wanted.n_fft,
        hop_length=wanted.hop_length,
        power=wanted.power,
        pad_mode="reflect" if wanted.padding == "reflect" else "constant",
        n_mels=wanted.n_mels,
        fmin=wanted.f_min,
        fmax=wanted.f_max,
        htk=wanted.mel_scale == "htk",
        norm=wanted.mel_norm,
    )
    kept = mel + wanted.epsilon if wanted.log == "add" else np.maximum(mel, wanted.epsilon)
    return (20 / wanted.power * np.log10(kept)).T


def log_mel_of(samples: Samples, wanted: config.Features) -> NDArray[np.float32]:
    log_mel: NDArray[np.float32] = features.LogMel(wanted, RATE)(torch.from_numpy(samples)[None])[0].numpy()
    return log_mel


def machine_sound(samples: int, seed: int = 0) -> Samples:
    """A loud low tone over faint noise: bands far apart in level, as in real recordings."""
    time = np.arange(samples) / RATE
    hum = 0.5 * np.sin(2 * np.pi * 47 * time) + 0.01 * np.sin(2 * np.pi * 3100 * time)
    return (hum + 1e-3 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_log_mels_are_those_of_librosa(changes: dict[str, Any]) -> None:
    wanted = changed(**changes)
    samples = machine_sound(50_001)
    np.testing.assert_allclose(log_mel_of(samples, wanted), librosa_log_mel(samples, wanted), rtol=0, atol=3e-5)


@pytest.mark.filterwarnings("ignore:n_fft=1024 is too large")
@settings(max_examples=40, deadline=None)
@given(samples=st.integers(513, 5000), padding=st.sampled_from(["reflect", "zeros"]))
def test_every_length_gives_the_frames_of_librosa(samples: int, padding: str) -> None:
    wanted = changed(padding=padding)
    sound = machine_sound(samples)
    np.testing.assert_allclose(log_mel_of(sound, wanted), librosa_log_mel(sound, wanted), rtol=0, atol=3e-5)


@pytest.mark.filterwarnings("ignore:At least one mel filterbank has all zero values")
def test_bands_between_two_frequencies_of_the_transform_are_empty() -> None:
    wanted = changed(n_fft=64, hop_length=32, n_mels=40, f_max=240.0, log="clamp")
    assert (log_mel_of(machine_sound(1000), wanted) == np.float32(10 * np.log10(EPSILON))).all()


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_zeros_left_out_of_the_mel_bank_change_nothing(changes: dict[str, Any]) -> None:
    log_mel = features.LogMel(changed(**changes), RATE)
    bank = features.mel_bank(log_mel.features, RATE).float()
    magnitude = torch.rand(30, len(bank), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_mel.in_bands(magnitude), magnitude @ bank, rtol=2e-6, atol=0)


@pytest.mark.parametrize("wanted", [MIMII, DCASE], ids=["mimii", "dcase"])
def test_real_clips_give_the_log_mels_of_librosa(shared_data: Path, wanted: config.Features) -> None:
    paths = [path for path in sorted(shared_data.rglob("*.wav")) if audio.info(path).sample_rate == RATE]
    assert paths
    for path in paths[::10]:
        samples = audio.read(path, audio_settings())
        np.testing.assert_allclose(log_mel_of(samples, wanted), librosa_log_mel(samples, wanted), rtol=0, atol=3e-5)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_the_mel_bank_is_that_of_librosa(changes: dict[str, Any]) -> None:
    wanted = changed(**changes)
    expected = librosa.filters.mel(
        sr=RATE,
        n_fft=wanted.n_fft,
        n_mels=wanted.n_mels,
        fmin=wanted.f_min,
        fmax=wanted.f_max,
        htk=wanted.mel_scale == "htk",
        norm=wanted.mel_norm,
        dtype=np.float64,
    )
    np.testing.assert_allclose(features.mel_bank(wanted, RATE), expected.T, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch", [1, 2, 7, 64])
@pytest.mark.parametrize("samples", [16_000, 20_001])
def test_the_batch_changes_no_bit(batch: int, samples: int) -> None:
    log_mel = features.LogMel(DCASE, RATE)
    clips = torch.from_numpy(np.stack([machine_sound(samples, seed) for seed in range(batch)]))
    alone = torch.cat([log_mel(clip[None]) for clip in clips])
    assert torch.equal(log_mel(clips), alone)


@pytest.mark.parametrize("at_once", ["CPU_FRAMES", "CPU_TRANSFORMED"])
@pytest.mark.parametrize("frames", [1, 3, 11])
@pytest.mark.parametrize("padding", ["reflect", "zeros"])
@pytest.mark.parametrize(
    ("changes", "lengths"),
    [
        ({}, [100_000]),
        # Several frames at either end are in part padding: more than a block.
        ({"n_fft": 2048, "hop_length": 300}, [1025, 1500, 9000]),
    ],
    ids=["mimii", "overlapping"],
)
def test_a_block_of_frames_changes_nothing_but_memory(
    monkeypatch: pytest.MonkeyPatch,
    at_once: str,
    frames: int,
    padding: str,
    changes: dict[str, Any],
    lengths: list[int],
) -> None:
    wanted = changed(padding=padding, **changes)
    for samples in map(machine_sound, lengths):
        expected = log_mel_of(samples, wanted)
        with monkeypatch.context() as patch:
            patch.setattr(features, at_once, frames)
            np.testing.assert_allclose(log_mel_of(samples, wanted), expected, rtol=0, atol=1e-5)


def audio_settings(**changes: Any) -> config.Audio:
    return config.Audio(**{"sample_rate": RATE, "channel": 0} | changes)


def extract(root: Path, entries: Sequence[Entry], name: str = "id_00.h5", **changes: Any) -> cache.FeatureCache:
    sections: dict[str, Any] = {
        "audio": audio_settings(),
        "slicing": config.Slice(),
        "gate": config.Gate(),
        "features": MIMII,
        "threads": 2,
    }
    features.extract(entries, root, root / name, device="cpu", require_gpu=False, **sections | changes)
    return cache.read(root / name)


def recordings(root: Path) -> list[Entry]:
    """Write recordings of several lengths, rates and numbers of channels, in no particular order."""
    shapes = [(3.0, RATE, 1), (3.0, RATE, 1), (2.5, RATE, 2), (3.0, 44100, 1), (3.0, RATE, 1), (1.01, 8000, 8)]
    entries = []
    for number, (seconds, rate, channels) in enumerate(shapes):
        entry = Entry(f"clip_{9 - number}.wav", "test" if number % 2 else "train")
        mono = machine_sound(int(seconds * rate), number)
        soundfile.write(root / entry.path, np.tile(mono[:, None], channels), rate, subtype="FLOAT")
        entries.append(entry)
    return entries


def test_the_cache_holds_each_clip_in_order(tmp_path: Path) -> None:
    entries = recordings(tmp_path)
    found = extract(tmp_path, entries)
    assert found.entries == entries
    assert found.sha256 == [sha256_of(tmp_path / entry.path) for entry in entries]
    assert found.settings["features"] == MIMII.model_dump()
    assert set(found.settings) == {"audio", "slice", "gate", "features"}
    for index, entry in enumerate(entries):
        samples = audio.read(tmp_path / entry.path, audio_settings())
        assert np.array_equal(found.clip(index), log_mel_of(samples, MIMII))


def test_whole_recordings_and_stretches_stand_beside_each_other(tmp_path: Path) -> None:
    entries = recordings(tmp_path)
    entries[1] = replace(entries[1], start=0.5, end=1.5)
    found = extract(tmp_path, entries)
    for index, entry in enumerate(entries):
        first, last = (RATE // 2, 3 * RATE // 2) if index == 1 else (0, None)
        samples = audio.read(tmp_path / entry.path, audio_settings(), first, last)
        assert np.array_equal(found.clip(index), log_mel_of(samples, MIMII))


def test_a_whole_recording_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = recordings(tmp_path)
    opened: list[Path] = []
    opening = soundfile.SoundFile

    def counted(path: Path) -> soundfile.SoundFile:
        opened.append(path)
        return opening(path)

    monkeypatch.setattr(soundfile, "SoundFile", counted)
    extract(tmp_path, entries, threads=1)
    assert opened == [tmp_path / entry.path for entry in entries]


def test_a_missing_recording_is_named_before_any_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(features, "read")
    with pytest.raises(InputError, match=r"gone\.wav: there is no such recording"):
        extract(tmp_path, [*recordings(tmp_path), Entry("gone.wav", "test")])


def test_a_gate_without_slices_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gate\.level is set and slice\.length is not"):
        extract(tmp_path, recordings(tmp_path), gate=config.Gate(level=-60.0))


def test_threads_work_ahead_and_not_too_far() -> None:
    begun: list[int] = []

    def begin(item: int) -> int:
        begun.append(item)
        return item

    with ThreadPoolExecutor(1) as pool:
        results = features._in_order(pool, begin, range(20), 5)
        assert next(results) == 0
        pool.submit(int).result()  # Its turn comes after what was asked for before.
        assert begun == list(range(6))
        assert list(results) == list(range(1, 20))


def test_a_recording_that_goes_meanwhile_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = recordings(tmp_path)

    def gone(path: Path) -> str:
        path.unlink()
        return sha256_of(path)

    monkeypatch.setattr(features, "sha256_of", gone)
    with pytest.raises(InputError, match=rf"{entries[0].path}: there is no such recording"):
        extract(tmp_path, entries, threads=1)


def test_neither_threads_nor_batches_change_a_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = recordings(tmp_path)
    expected = extract(tmp_path, entries, threads=1).path.read_bytes()
    assert extract(tmp_path, entries, "three.h5", threads=3).path.read_bytes() == expected
    monkeypatch.setattr(features, "_one_by_one", features._in_batches)
    assert extract(tmp_path, entries, "batches.h5").path.read_bytes() == expected
    monkeypatch.setattr(features, "BATCH_SAMPLES", 1)
    assert extract(tmp_path, entries, "single.h5").path.read_bytes() == expected


def test_batches_hold_neighbours_of_one_length() -> None:
    lengths = [5, 5, 5, 3, 5, 5, features.BATCH_SAMPLES // 2, features.BATCH_SAMPLES // 2, features.BATCH_SAMPLES // 2]
    found = list(features._batches(np.zeros(length, np.float32) for length in lengths))
    batches = [batch for batch in found if isinstance(batch, list)]
    assert [len(batch) for batch in batches] == [3, 1, 2, 2, 1]
    assert [len(samples) for batch in batches for samples in batch] == lengths


@pytest.mark.parametrize("transformed", ["_one_by_one", "_in_batches"])
def test_a_broken_clip_stops_or_is_excluded_and_takes_nobodys_place(
    tmp_path: Path, transformed: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entries = recordings(tmp_path)
    expected = extract(tmp_path, entries)
    broken = {1: b"RIFF", 3: (tmp_path / entries[3].path).read_bytes()[:9000]}
    silent = Entry("silent.wav", "test")
    soundfile.write(tmp_path / silent.path, np.zeros(RATE), RATE)
    for place, content in broken.items():
        (tmp_path / entries[place].path).write_bytes(content)
    listed = [*entries[:5], silent, *entries[5:]]
    monkeypatch.setattr(features, "_one_by_one", getattr(features, transformed))
    with pytest.raises(InputError, match=r"^3 clips are broken\. .*set dataset.broken_clips: exclude") as caught:
        extract(tmp_path, listed, "stopped.h5")
    assert all(f"{tmp_path / entry.path}: " in str(caught.value) for entry in (entries[1], entries[3], silent))
    caplog.clear()
    assert not (tmp_path / "stopped.h5").exists()
    found = extract(tmp_path, listed, "excluded.h5", broken_clips="exclude")
    kept = [place for place in range(len(entries)) if place not in broken]
    assert found.entries == [entries[place] for place in kept]
    for row, place in enumerate(kept):
        assert np.array_equal(found.clip(row), expected.clip(place))
    assert {clip.entry for clip in found.excluded} == {entries[1], entries[3], silent}
    assert all(str(tmp_path) not in clip.reason for clip in found.excluded)
    assert caplog.text.count("broken: ") == 3


def test_what_is_wrong_with_all_clips_is_said_once(tmp_path: Path) -> None:
    entries = recordings(tmp_path)
    with pytest.raises(InputError, match=r"channel is 3") as caught:
        extract(tmp_path, entries, audio=audio_settings().model_copy(update={"channel": 3}))
    assert f"{tmp_path / entries[0].path} and 3 more: audio.channel is 3, and the last of its channels is 0" in str(
        caught.value
    )
    assert str(caught.value).count("channels is 0") == 1


def test_a_recording_that_is_not_there_stops_even_where_broken_ones_are_excluded(tmp_path: Path) -> None:
    entries = recordings(tmp_path)
    (tmp_path / entries[2].path).unlink()
    with pytest.raises(InputError, match=f"{entries[2].path}: there is no such recording"):
        extract(tmp_path, entries, broken_clips="exclude")


def test_half_precision_is_the_rounded_single(tmp_path: Path) -> None:
    entries = recordings(tmp_path)
    single = extract(tmp_path, entries)
    half = extract(tmp_path, entries, "half.h5", features=changed(dtype="float16"))
    assert np.array_equal(half.clip(1), single.clip(1).astype(np.float16))


def test_slices_are_clips_of_their_own(tmp_path: Path) -> None:
    sound = machine_sound(10 * RATE)
    sound[2 * RATE : 6 * RATE] = 0
    soundfile.write(tmp_path / "long.wav", sound, RATE, subtype="FLOAT")
    entries = [Entry("long.wav", "train", "source"), Entry("long.wav", "test", start=0.5, end=1.75)]
    slicing, gate = config.Slice(length=1.0), config.Gate(level=-40.0, hold=1.0)
    found = extract(tmp_path, entries, slicing=slicing, gate=gate)
    starts = [0.0, 1.0, 6.0, 7.0, 8.0, 9.0]
    assert found.entries == [Entry("long.wav", "train", "source", start, start + 1) for start in starts] + entries[1:]
    for index, entry in enumerate(found.entries):
        assert entry.start is not None
        assert entry.end is not None
        cut = sound[int(entry.start * RATE) : int(entry.end * RATE)]
        assert np.array_equal(found.clip(index), log_mel_of(cut, MIMII))


def test_a_recording_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "long.wav", machine_sound(20 * RATE), RATE)
    hashed: list[Path] = []

    def counted(path: Path) -> str:
        hashed.append(path)
        return sha256_of(path)

    monkeypatch.setattr(features, "sha256_of", counted)
    found = extract(tmp_path, [Entry("long.wav", "train")], slicing=config.Slice(length=1.0))
    assert hashed == [tmp_path / "long.wav"]
    assert found.sha256 == [sha256_of(tmp_path / "long.wav")] * 20


def test_the_log_counts_what_was_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    silence = np.zeros(2 * RATE, np.float32)
    soundfile.write(tmp_path / "off.wav", silence, RATE)
    entries = [*recordings(tmp_path), Entry("off.wav", "train")]
    with caplog.at_level(logging.INFO):
        extract(tmp_path, entries, slicing=config.Slice(length=1.0), gate=config.Gate(level=-60.0))
    assert "15 clips of 7 entries, 2.0 s gated out" in caplog.text
    counts = re.findall(r"clips (?:at|from) (\S+).*: (\d+)$", caplog.text, re.MULTILINE)
    of_channels = [("1-channel", "12"), ("2-channel", "2"), ("8-channel", "1")]
    assert counts == [("8000", "1"), ("16000", "11"), ("44100", "3"), *of_channels]
    assert "clips at 44100 Hz, resampled to 16000 Hz: 3" in caplog.text
    assert "device: type cpu" in caplog.text
    assert "off.wav: the gate leaves no slice" in caplog.text


def test_the_log_counts_entries_whose_header_is_broken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    entries = recordings(tmp_path)[:2]
    (tmp_path / entries[0].path).write_bytes(b"RIFF")
    with caplog.at_level(logging.INFO):
        extract(tmp_path, entries, slicing=config.Slice(length=1.0), broken_clips="exclude")
    assert "3 clips of 2 entries, 0.0 s gated out" in caplog.text
    assert "clips at 16000 Hz: 3" in caplog.text


def test_the_log_tells_of_a_test_clip_that_is_a_copy_of_a_training_clip(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, *others = recordings(tmp_path)
    shutil.copy(tmp_path / one.path, tmp_path / "copy.wav")
    assert one.split == "train"
    stretch = Entry(one.path, "test", start=0.0, end=1.5)  # Another part may have been trained on.
    copies = [Entry("copy.wav", "test"), Entry("copy.wav", "test", start=0.0, end=1.5)]
    extract(tmp_path, [one, *others, *copies, stretch])
    [line] = [record.getMessage() for record in caplog.records if "is a copy of" in record.getMessage()]
    assert line.startswith(f"copy.wav (test) is a copy of {one.path} (train): ")


def test_the_log_counts_what_was_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(InputError, match=r"audio\.sample_rate 16000"):
        extract(tmp_path, recordings(tmp_path), audio=audio_settings(other_rates="refuse"))
    assert "clips at 44100 Hz, refused: 1" in caplog.text
    assert "resampled" not in caplog.text


def test_what_cannot_be_transformed_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", machine_sound(512), RATE)
    with pytest.raises(InputError, match=r"short\.wav: 512 samples are too few, the padding needs 513"):
        extract(tmp_path, [Entry("short.wav", "train")])
    soundfile.write(tmp_path / "loud.wav", 1e30 * machine_sound(RATE), RATE, subtype="FLOAT")
    with pytest.raises(InputError, match=r"loud\.wav: its log-mel spectrogram is not finite"):
        extract(tmp_path, [*recordings(tmp_path), Entry("loud.wav", "train")])
    with pytest.raises(InputError, match=r"gone\.wav: there is no such recording"):
        extract(tmp_path, [*recordings(tmp_path), Entry("gone.wav", "train")])
    assert not (tmp_path / "id_00.h5").exists()


def test_a_long_recording_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    seconds = 300
    soundfile.write(tmp_path / "long.wav", np.tile(machine_sound(RATE), seconds), RATE, subtype="PCM_16")
    tracemalloc.start()
    extract(tmp_path, [Entry("long.wav", "train")], slicing=config.Slice(length=1.0), gate=config.Gate(level=-60.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < seconds * RATE * 4 / 5
