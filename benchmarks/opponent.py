"""The usual recipe, written plainly: what a user would run in place of offnote.

librosa turns recordings into log-mel spectrograms one by one, all context windows are laid out in float64, Keras on
TensorFlow fits the autoencoder, and `predict` is called for each clip. It follows the preset `mimii` (features, layers,
optimiser, batch size, shuffling, a tenth of the windows for validation), as the published baselines do.

It runs in an environment of its own (``benchmarks/requirements.txt``), imports nothing of offnote, and writes what it
measured as JSON, in seconds and bytes.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import librosa
import numpy as np
from numpy.typing import NDArray

Machines = Mapping[str, Mapping[str, list[str]]]
"""The paths of the clips of each machine, by split: ``train`` and ``test``."""

FFT, HOP, MELS, FRAMES = 1024, 512, 64, 5
BATCH, LEARNING_RATE, VALIDATION = 512, 1e-3, 0.1


def log_mel(path: str) -> NDArray[np.float64]:
    """Return the log-mel spectrogram of a recording in dB, (mels, frames)."""
    samples, rate = librosa.load(path, sr=None, mono=False)
    mel = librosa.feature.melspectrogram(
        y=samples, sr=rate, n_fft=FFT, hop_length=HOP, n_mels=MELS, power=2.0, pad_mode="reflect"
    )
    decibels: NDArray[np.float64] = 10.0 * np.log10(mel + sys.float_info.epsilon)
    return decibels


def context_windows(spectrogram: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lay every run of `FRAMES` frames side by side, float64 (windows, FRAMES * MELS)."""
    count = max(0, spectrogram.shape[1] - FRAMES + 1)
    windows = np.zeros((count, FRAMES * MELS), float)
    for frame in range(FRAMES):
        windows[:, MELS * frame : MELS * (frame + 1)] = spectrogram[:, frame : frame + count].T
    return windows


def all_windows(paths: Sequence[str]) -> NDArray[np.float64]:
    """Return the context windows of many recordings in one array."""
    for number, path in enumerate(paths):
        windows = context_windows(log_mel(path))
        if number == 0:
            dataset = np.zeros((len(windows) * len(paths), FRAMES * MELS), float)
        dataset[len(windows) * number : len(windows) * (number + 1)] = windows
    return dataset


def fitted(dataset: NDArray[np.float64], epochs: int) -> Any:
    """Return an autoencoder trained on the windows of a dataset."""
    layers = [keras.layers.Input(shape=(FRAMES * MELS,))]
    layers += [keras.layers.Dense(width, activation="relu") for width in (64, 64, 8, 64, 64)]
    model = keras.Sequential([*layers, keras.layers.Dense(FRAMES * MELS)])
    model.compile(optimizer=keras.optimizers.Adam(LEARNING_RATE), loss="mean_squared_error")
    model.fit(dataset, dataset, epochs=epochs, batch_size=BATCH, shuffle=True, validation_split=VALIDATION, verbose=0)
    return model


def score(model: Any, windows: NDArray[np.float64]) -> float:
    """Return the mean squared error of a clip's windows."""
    return float(np.mean(np.square(windows - model.predict(windows, verbose=0))))


def job(machines: Machines, epochs: int, output: Path) -> None:
    """Do the whole job: train on each machine, score its test clips, write a table for each."""
    output.mkdir(parents=True, exist_ok=True)
    for machine, clips in machines.items():
        model = fitted(all_windows(clips["train"]), epochs)
        model.save(output / f"{machine.replace('/', '_')}.keras")
        with (output / f"{machine.replace('/', '_')}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerows([path, score(model, context_windows(log_mel(path)))] for path in clips["test"])


def features(machines: Machines) -> dict[str, float]:
    """Return the seconds that the log-mel spectrograms of all clips take, once the first is done."""
    paths = [path for clips in machines.values() for path in clips["train"] + clips["test"]]
    log_mel(paths[0])
    started = time.perf_counter()
    for path in paths:
        log_mel(path)
    return {"seconds": time.perf_counter() - started, "clips": len(paths)}


def scoring(machines: Machines) -> dict[str, float]:
    """Return the seconds that the scores of all test clips take, from their features on, once the first is done."""
    clips = next(iter(machines.values()))
    model = fitted(all_windows(clips["train"][:2]), epochs=1)
    spectrograms = [log_mel(path) for path in clips["test"]]
    score(model, context_windows(spectrograms[0]))
    started = time.perf_counter()
    for spectrogram in spectrograms:
        score(model, context_windows(spectrogram))
    return {"seconds": time.perf_counter() - started, "clips": len(spectrograms)}


def training(machines: Machines, epochs: int) -> dict[str, float]:
    """Return the peak of resident memory while the first machine is trained, less what the imports took."""
    clips = next(iter(machines.values()))
    before = resident("VmRSS")
    # The peak so far, which may be of the imports, counts no more.
    Path("/proc/self/clear_refs").write_text("5")
    started = time.perf_counter()
    fitted(all_windows(clips["train"]), epochs)
    return {"bytes": resident("VmHWM") - before, "seconds": time.perf_counter() - started}


def resident(what: str) -> int:
    """Return a figure of this process's memory in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


def main() -> None:
    """Do what the command line asks for, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["job", "features", "scoring", "training"])
    parser.add_argument("clips", type=Path, help="JSON: machine to lists of paths, `train` and `test`")
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--output", type=Path, help="folder for what `job` writes")
    options = parser.parse_args()
    machines = json.loads(options.clips.read_text())
    if options.what == "job":
        job(machines, options.epochs, options.output)
        measured: dict[str, float] = {}
    elif options.what == "features":
        measured = features(machines)
    elif options.what == "scoring":
        measured = scoring(machines)
    else:
        measured = training(machines, options.epochs)
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
