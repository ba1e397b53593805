"""The readers of files that others may have made, each with files that it takes: what the fuzzing begins with."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from offnote import audio, cache, checkpoints, clips, config, config_files, detectors, scores
from offnote.challenge import load_challenge
from offnote.models import Autoencoder
from offnote.package_check import check_submission
from offnote.retrieve import unpack
from offnote.score_folders import read_folder
from offnote.submission import write_submission
from offnote.training import State, start

from tests.score_folders import make_unlabelled
from tests.small import CPU, SIZE, fit_small, generator, noise, small_model, small_training
from tests.submissions import TEAM, system


@dataclass(frozen=True)
class Reader:
    """A reader, and how to try it.

    Attributes
    ----------
    make
        Writes files that the reader takes into an empty folder; each of them is changed in turn.
    read
        Reads the files in such a folder, to their ends.
    """

    make: Callable[[Path], object]
    read: Callable[[Path], object]


SAMPLES = np.sin(np.linspace(0, 400, 1600)).astype(np.float32)
SOUNDS = (("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
          ("AIFF", "PCM_24"), ("AU", "PCM_16"), ("W64", "PCM_16"), ("RF64", "PCM_16"), ("WAVEX", "PCM_32"))  # fmt: skip
SHEET = "".join(
    "\t".join(cells) + "\n"
    for cells in [
        ["path", "machine_type", "machine_id", "split", "label", "domain", "start", "end", "time", "attributes"],
        ["a/1.wav", "fan", "id_00", "train", "normal", "source", "0", "10.5", "2026-01-01T10:00:00", "speed 3"],
        ["a/2.wav", "fan", "id_00", "test", "anomaly", "target", "", "", "2026-01-01T10:00:10", "car A"],
        ["b/ü.wav", "pump", "id_02", "test", "", "", "", "", "", ""],
    ]
)
CONFIG = """# mine
run: mine
preset: mimii
seed: 3
dataset: {name: mine, path: recordings, machines: ["fan/*", "!pump"]}
features: {n_mels: 32, f_max: 7000.0}
training:
  epochs: 10
  learning_rate: 1.0e-3
evaluate: {threshold: gamma, false_alarm_rate: 0.05}
submission: {year: 2024, lastname: A, authors: [{lastname: A, email: a@b.c}], description: {front_end: x}}
runs:
  other: {seed: 4, training: {trials: 3}}
"""
TRAINING = small_training(epochs=1, batch_size=4)
MELS = 4


def make_sounds(folder: Path) -> None:
    for kind, subtype in SOUNDS:
        rate = 48000 if subtype == "OPUS" else 16000
        soundfile.write(folder / f"{kind}_{subtype}.bin", SAMPLES, rate, subtype=subtype, format=kind)


def read_sounds(folder: Path) -> None:
    for path in folder.iterdir():
        audio.info(path)
        audio.read(path, config.Audio(sample_rate=16000, channel="mean"))


def cached(folder: Path) -> Path:
    made = [
        cache.CachedClip(clips.Entry(f"{number}.wav", "train"), "0" * 64, 512, frames)
        for number, frames in enumerate(noise([9] * 8, MELS))
    ]
    broken = clips.Excluded(clips.Entry("broken.wav", "test"), "cut short")
    path = folder / "id_00.h5"
    cache.write(path, [*made, broken], {"features": {"n_mels": MELS}}, n_mels=MELS)
    return path


def read_cache(folder: Path) -> None:
    with cache.read(folder / "id_00.h5") as found:
        cache.check_settings(found, {"features": {"n_mels": MELS}}, stated_only=True)
        for index in range(len(found)):
            found.clip(index)
        found.clips(range(len(found)))


def make_model(folder: Path) -> None:
    path = cached(folder)
    fit_small([path], folder, training=TRAINING)
    path.unlink()
    (folder / "loss.csv").unlink()


def read_model(folder: Path) -> None:
    detectors.load_detector(folder, CPU).score(np.zeros((9, MELS), np.float32), [0.5])


def started() -> State:
    random = generator()
    return start(Autoencoder(SIZE * MELS, small_model(), random), TRAINING, random)


def make_checkpoint(folder: Path) -> None:
    checkpoints.Checkpoint(folder / "state.safetensors", 0.0).keep(started(), always=True)


def read_checkpoint(folder: Path) -> None:
    checkpoints.Checkpoint(folder / "state.safetensors", 0.0).restore(started())


def make_scores(folder: Path) -> None:
    table = scores.ScoreTable(
        np.array(["a.wav", "b.wav"]), np.array(["train", "test"]), np.array([np.nan, 0.0]), np.array([np.nan, 1.5]),
        {"mean": np.array([0.5, 1.5]), "max": np.array([1.0, 2.0])},
    )  # fmt: skip
    scores.write(folder / "trial_0.csv", table)
    broken = clips.Excluded(clips.Entry("broken.wav", "test"), "cut short")
    scores.write_description(folder / "trial_0.csv", excluded=[broken])


def read_scores(folder: Path) -> None:
    scores.read(folder / "trial_0.csv")
    scores.read_description(folder / "trial_0.csv")


def make_evaluated(folder: Path) -> None:
    make_unlabelled(folder, 2022)


def make_submission(folder: Path) -> None:
    write_submission(folder, 2026, TEAM, [system(2026)])
    for path in (*folder.glob("*.zip"), folder / "SHA256SUMS"):
        path.unlink()


def make_zip(folder: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fan/train/a.wav", b"RIFF" * 20)
        archive.writestr("fan/test/b.wav", b"x")
        archive.writestr("fan/empty/", b"")
    (folder / "dev_fan.zip").write_bytes(content.getvalue())


def make_archive(folder: Path) -> None:
    written = write_submission(folder, 2026, TEAM, [system(2026)])
    for path in (*written.files, written.checksums):
        path.unlink()


def read_zip(folder: Path) -> None:
    unpack(folder / "dev_fan.zip", folder / "unpacked")


READERS = {
    "recordings": Reader(make_sounds, read_sounds),
    "sheet": Reader(
        lambda folder: (folder / "sheet.tsv").write_text(SHEET, encoding="utf-8"),
        lambda folder: clips.read_clips(folder / "sheet.tsv"),
    ),
    "configuration": Reader(
        lambda folder: (folder / "mine.yaml").write_text(CONFIG, encoding="utf-8"),
        lambda folder: config.resolve(config_files.read_files([folder / "mine.yaml"])),
    ),
    "feature cache": Reader(cached, read_cache),
    "model": Reader(make_model, read_model),
    "checkpoint": Reader(make_checkpoint, read_checkpoint),
    "score file": Reader(make_scores, read_scores),
    "scores to evaluate": Reader(
        lambda folder: make_unlabelled(folder, 2022),
        lambda folder: read_folder(folder / "system", load_challenge(2022), folder / "evaluator"),
    ),
    "submission": Reader(make_submission, lambda folder: check_submission(folder, 2026)),
    "submission, packed": Reader(
        make_archive, lambda folder: check_submission(folder / "Lastname_Institute_task2.zip", 2026)
    ),
    "download": Reader(make_zip, read_zip),
}
