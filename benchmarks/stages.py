"""Single stages of offnote, once started, and the floor below its features: run as a process by the harness.

``python -m benchmarks.stages STAGE SHEET`` prints what it measured as JSON, in seconds and bytes, as the opponent does.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import soundfile
import torch
from offnote.cache import read as read_cache
from offnote.checkpoints import Checkpoint
from offnote.clips import Entry, Machine
from offnote.config import Training
from offnote.detectors import fit_scope
from offnote.device import set_threads
from offnote.errors import InputError
from offnote.evaluation import MachineScores, evaluate
from offnote.features import CPU_TRANSFORMED, LogMel, extract
from offnote.models import Autoencoder
from offnote.plan import Run, plan
from offnote.report import draw_machine
from offnote.scoring import score_machine
from offnote.spectra import squared_magnitudes
from offnote.training import WindowSource, fit, start
from torch.utils.data import DataLoader, TensorDataset

HOST: dict[str, Any] = {"device": "cpu", "require_gpu": False}


def planned(sheet: Path, **settings: Any) -> Run:
    """Return the run of a set with the default preset, but for `settings`."""
    dataset = {"name": "bench", "path": str(sheet)}
    return plan({"run": "bench", "dataset": dataset} | settings)["bench"]


def features_of(run: Run, machine: Machine, output: Path, threads: int) -> Path:
    """Write the feature cache of a machine below `output`."""
    settings = run.settings
    path = output / machine.machine_type / f"{machine.machine_id}.h5"
    extract(
        [Entry(clip.path, clip.split) for clip in run.recordings.clips[machine]],
        run.recordings.root,
        path,
        audio=settings.audio,
        slicing=settings.slice,
        gate=settings.gate,
        features=settings.features,
        threads=threads,
        **HOST,
    )
    return path


def model_of(run: Run, scope: Machine, caches: list[Path], output: Path) -> Checkpoint:
    """Train on one scope; the model's files go to `output`."""
    settings = run.settings
    return fit_scope(
        caches,
        output,
        window=settings.window,
        model=settings.model,
        training=settings.training,
        seed=settings.seed,
        trial=0,
        scope=str(scope),
        **HOST,
    )


def scores_of(run: Run, cache: Path, model: Path, output: Path) -> Path:
    """Score a machine; the table and its description go to `output`."""
    quantiles, threads = run.settings.scores.quantiles, run.settings.model.threads
    path = output / "trial_0.csv"
    score_machine(cache, model, path, quantiles=quantiles, threads=threads, **HOST)
    return path


def features(sheet: Path, share: int, cores: int, begin: Callable[[], None], folder: Path) -> int:
    """Write the feature caches of a share of the machines, once a first machine's is written; return the clips."""
    run = planned(sheet)
    machines = run.machines[share::cores]
    features_of(run, machines[0], folder / "first", threads=1)
    begin()
    for machine in machines:
        features_of(run, machine, folder, threads=1)
    return sum(len(run.recordings.clips[machine]) for machine in machines)


def floor(sheet: Path, share: int, cores: int, begin: Callable[[], None], precision: torch.dtype) -> int:
    """Do what no log-mel can do without: decoding, Fourier transform and product with the mel bank, and no more.

    Nothing is padded, checked, logged or written, and there is no logarithm; window and squared magnitude, without
    which the product would be of something else, are in it. Transforms are in blocks of
    :data:`offnote.features.CPU_TRANSFORMED`, as there, and the product is the same.
    """
    torch.set_num_threads(1)
    run = planned(sheet)
    settings = run.settings.features
    n_fft, hop = settings.n_fft, settings.hop_length
    log_mel = LogMel(settings, run.settings.audio.sample_rate)
    window = log_mel.window.to(precision)
    paths = [path for machine in run.machines[share::cores] for path in run.recordings.files(machine)]

    @torch.inference_mode()
    def transform(path: str) -> None:
        samples = torch.from_numpy(soundfile.read(path, dtype="int16")[0])
        magnitude = torch.empty((len(samples) - n_fft) // hop + 1, n_fft // 2 + 1)
        blocks = torch.split(magnitude, CPU_TRANSFORMED)
        for first, block in zip(range(0, len(magnitude) * hop, CPU_TRANSFORMED * hop), blocks, strict=True):
            stretch = samples[first : first + (len(block) - 1) * hop + n_fft].to(precision)
            squared_magnitudes(stretch.unfold(0, n_fft, hop) * window, out=block)
        log_mel.in_bands(magnitude)

    for path in paths[:8]:
        transform(path)
    begin()
    for path in paths:
        transform(path)
    return len(paths)


ABREAST: dict[str, Callable[[Path, int, int, Callable[[], None], Path], int]] = {
    "features": features,
    "floor": lambda sheet, share, cores, begin, _: floor(sheet, share, cores, begin, torch.float64),
    "floor_in_single": lambda sheet, share, cores, begin, _: floor(sheet, share, cores, begin, torch.float32),
}
"""What jobs of one thread do beside each other, one for each core: a share of the machines each."""


def abreast(what: str, sheet: Path, cores: int, folder: Path) -> dict[str, float]:
    """Time what `cores` processes do beside each other; none begins before all are ready.

    Raises
    ------
    InputError
        One of them failed; it has said why.
    """
    context = multiprocessing.get_context("spawn")
    ready, done = context.Barrier(cores), context.SimpleQueue()
    jobs = [
        context.Process(target=_job, args=(what, sheet, share, cores, folder / str(share), ready, done))
        for share in range(cores)
    ]
    for job in jobs:
        job.start()
    running = jobs
    while running:
        wait([job.sentinel for job in running])
        running = [job for job in running if job.exitcode is None]
        if any(job.exitcode for job in jobs):
            # The others would wait for it for ever.
            for job in running:
                job.terminate()
    if any(job.exitcode for job in jobs):
        raise InputError(f"{what}: a process failed")
    begun, ended, clips = zip(*(done.get() for _ in jobs), strict=True)
    return {"seconds": max(ended) - min(begun), "clips": sum(clips)}


def _job(
    what: str,
    sheet: Path,
    share: int,
    cores: int,
    folder: Path,
    ready: Barrier,
    done: SimpleQueue[tuple[float, float, int]],
) -> None:
    begun = 0.0

    def begin() -> None:
        nonlocal begun
        ready.wait()
        begun = time.perf_counter()

    clips = ABREAST[what](sheet, share, cores, begin, folder)
    done.put((begun, time.perf_counter(), clips))


def scoring(sheet: Path, folder: Path) -> dict[str, float]:
    """Time the score file of the first machine, once a first one is written; the features are there, as a cache."""
    run = planned(sheet, training={"epochs": 1})
    machine = run.machines[0]
    cache = features_of(run, machine, folder, threads=1)
    model_of(run, machine, [cache], folder / "model")
    scores_of(run, cache, folder / "model", folder / "first")
    started = time.perf_counter()
    scores_of(run, cache, folder / "model", folder)
    return {"seconds": time.perf_counter() - started, "clips": len(run.recordings.clips[machine])}


def training(sheet: Path, epochs: int, folder: Path) -> dict[str, float]:
    """Take the peak of resident memory while the first machine is trained, less what the imports took."""
    run = planned(sheet, training={"epochs": epochs})
    machine = run.machines[0]
    # In a process of its own, as in the workflow: what features load and take is not training's.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as elsewhere:
        cache = elsewhere.submit(features_of, run, machine, folder, 1).result()
    before = resident("VmRSS")
    # The peak so far, which may be of the imports, counts no more.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    started = time.perf_counter()
    model_of(run, machine, [cache], folder / "model")
    return {"bytes": resident("VmHWM") - before, "seconds": time.perf_counter() - started}


def steps(sheet: Path, preset: str, epochs: int, plain: bool, folder: Path) -> dict[str, float]:
    """Time steps of training on the first machine, one epoch being done already: offnote's, or those of a plain loop.

    The plain loop is what one writes first: all windows as one tensor, in a ``DataLoader``, and ``torch.optim.Adam``.
    """
    run = planned(sheet, preset=preset, training={"epochs": epochs})
    settings = run.settings
    set_threads(1)
    with read_cache(features_of(run, run.machines[0], folder, threads=1)) as cache:
        clips = [(0, clip) for clip in range(len(cache))]
        windows = WindowSource([cache], clips, settings.window.frames, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    network = Autoencoder(windows.inputs, settings.model, generator)
    if plain:
        seconds = _plain_loop(network, next(windows.batches(windows.windows)), settings.training)
    else:
        state = start(network, settings.training, generator)
        ends: list[float] = []
        fit(state, windows, None, settings.training, "bench", lambda _: ends.append(time.perf_counter()))
        seconds = ends[-1] - ends[0]
    return {"seconds": seconds, "steps": (epochs - 1) * -(-windows.windows // settings.training.batch_size)}


def _plain_loop(network: Autoencoder, windows: torch.Tensor, settings: Training) -> float:
    """Train with what PyTorch brings along; return the seconds from the end of the first epoch to that of the last."""
    loader = DataLoader(TensorDataset(windows), settings.batch_size, shuffle=True)
    optimiser = torch.optim.Adam(network.parameters(), settings.learning_rate, eps=settings.adam_epsilon)
    ends = []
    for _ in range(settings.epochs):
        total = 0.0
        for (batch,) in loader:
            loss = torch.nn.functional.mse_loss(network(batch), batch)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            total += loss.item() * len(batch)
        ends.append(time.perf_counter())
    return ends[-1] - ends[0]


def bare(sheet: Path, epochs: int, folder: Path) -> dict[str, float]:
    """Time the work of every stage on every machine, in one process that has been started already."""
    run = planned(sheet, training={"epochs": epochs})
    first = run.machines[0]

    # What is slow the first time only, such as imports at first use, is start-up and no work.
    features_of(run, first, folder, threads=1)
    short = planned(sheet, training={"epochs": 1})
    model_of(short, first, [folder / f"{first}.h5"], folder / f"models/{first}")
    scores_of(run, folder / f"{first}.h5", folder / f"models/{first}", folder / f"scores/{first}")
    _draw(run, first, folder)
    started = time.perf_counter()
    for machine in run.machines:
        cache = features_of(run, machine, folder, threads=1)
        model_of(run, machine, [cache], folder / f"models/{machine}")
        scores_of(run, cache, folder / f"models/{machine}", folder / f"scores/{machine}")
        _draw(run, machine, folder)
    _tables(run, sheet, folder)
    return {"seconds": time.perf_counter() - started, "machines": len(run.machines)}


def _draw(run: Run, machine: Machine, folder: Path) -> None:
    draw_machine(
        machine,
        scores=[folder / f"scores/{machine}/trial_0.csv"],
        losses=[folder / f"models/{machine}/loss.csv"],
        clips=[clip for clip in run.recordings.clips[machine] if clip.split == "test"],
        folder=folder / f"figures/{machine}",
        settings=run.settings.evaluate,
    )


def _tables(run: Run, sheet: Path, folder: Path) -> None:
    evaluate(
        [MachineScores(machine, [folder / f"scores/{machine}/trial_0.csv"]) for machine in run.machines],
        clips=sheet,
        folder=folder,
        settings=run.settings.evaluate,
        run="bench",
    )


def resident(what: str) -> int:
    """Return a figure of this process's memory in bytes: ``VmRSS`` now, ``VmHWM`` at its peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


STAGES: dict[str, Callable[[argparse.Namespace, Path], dict[str, float]]] = {
    "features": lambda given, folder: abreast("features", given.sheet, given.cores, folder),
    "floor": lambda given, folder: abreast("floor", given.sheet, given.cores, folder),
    "floor_in_single": lambda given, folder: abreast("floor_in_single", given.sheet, given.cores, folder),
    "scoring": lambda given, folder: scoring(given.sheet, folder),
    "training": lambda given, folder: training(given.sheet, given.epochs, folder),
    "steps": lambda given, folder: steps(given.sheet, given.preset, given.epochs, plain=False, folder=folder),
    "plain_steps": lambda given, folder: steps(given.sheet, given.preset, given.epochs, plain=True, folder=folder),
    "bare": lambda given, folder: bare(given.sheet, given.epochs, folder),
}
"""What can be measured: from the command line, and a folder to write to."""


def main() -> None:
    """Do what the command line asks for, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=STAGES)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--cores", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--preset", default="mimii")
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        measured = STAGES[options.what](options, Path(temporary))
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
