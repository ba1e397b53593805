"""`python -m benchmarks.gpu`: what a GPU makes of features and of training, beside what it could make of them at most.

The floors are measured in the same run: how fast the device multiplies matrices and moves memory. They count the
arithmetic and the memory traffic that no implementation can do without, and no launch. Nothing but the device is
compared, so this needs no opponent's environment.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, get_args

import numpy as np
import torch
from offnote import cache, products
from offnote.cache import CachedClip
from offnote.clips import Entry
from offnote.config import ROOT, Precision, Settings, resolve
from offnote.device import describe, products_in, set_threads
from offnote.features import LogMel
from offnote.files import replacing
from offnote.models import Autoencoder
from offnote.stacked import fit_stacked
from offnote.training import State, WindowSource, fit, start, trainable
from torch.profiler import ProfilerActivity, profile

from benchmarks.tables import digits

CLIPS_AT_ONCE = 32
CLIP_SECONDS = 10
PRESETS = ("mimii", "dcase2020")
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
EPOCHS = 10
"""So many steps that recording the first of them weighs as little as in a real fit."""
NUMBER_BYTES = 4
LAUNCHES = ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx", "cudaGraphLaunch")


class Line(NamedTuple):
    """A row of the table: a rate, launches in each step, and the rate that the slowest of the floors allows."""

    what: str
    rate: float
    unit: str
    launches: float | None
    floor: float
    limit: str

    def __str__(self) -> str:
        launches = "–" if self.launches is None else f"{self.launches:.0f}"
        cells = [self.what, f"{digits(self.rate)} {self.unit}", launches, f"{digits(self.floor)} ({self.limit})"]
        return f"| {' | '.join(cells)} | {digits(100 * self.rate / self.floor)} % |"


@dataclass(frozen=True)
class Device:
    """A device, and how fast it multiplies and moves memory.

    Attributes
    ----------
    device : torch.device
        The device.
    flops : dict of str to float
        Floating point operations a second in a large product of matrices, in each precision.
    bandwidth : float
        Bytes a second, read and written, in copying a large tensor.
    """

    device: torch.device
    flops: dict[Precision, float]
    bandwidth: float

    @classmethod
    def measured(cls, device: torch.device, precisions: Sequence[Precision]) -> Device:
        """Measure a device."""
        size, numbers = (8192, 2**28) if device.type == "cuda" else (1024, 2**24)
        matrix = torch.rand(size, size, device=device)
        long, other = torch.rand(2, numbers, device=device)
        flops: dict[Precision, float] = {}
        for precision in dict.fromkeys(("float32", *precisions)):
            # By the library that training multiplies by.
            with products_in(precision, device), torch.no_grad():
                flops[precision] = 2 * size**3 / _seconds(device, lambda: products.product(matrix, matrix))
        copy = _seconds(device, lambda: other.copy_(long))
        return cls(device, flops, 2 * NUMBER_BYTES * numbers / copy)

    def floor(self, operations: float, traffic: float, precision: Precision = "float32") -> tuple[float, str]:
        """Return how often a second so much can be done at most, and what limits it."""
        return min((self.flops[precision] / operations, "arithmetic"), (self.bandwidth / traffic, "memory"))


def log_mel(on: Device, settings: Settings) -> Line:
    """Time the log-mel spectrograms of clips that are on the device already."""
    rate = settings.audio.sample_rate
    transform = LogMel(settings.features, rate, on.device)
    samples = torch.rand(CLIPS_AT_ONCE, CLIP_SECONDS * rate, device=on.device)
    frames = transform(samples).shape[1]
    n_mels, n_fft = settings.features.n_mels, settings.features.n_fft
    # Of a real transform about half of 5 n log2(n); it is in double precision, which the floor lets pass as single.
    weights = sum(int(torch.count_nonzero(bank)) for bank in transform.banks)
    operations = frames * (2.5 * n_fft * np.log2(n_fft) + 2 * weights)
    traffic = NUMBER_BYTES * (samples.shape[1] + frames * n_mels)
    seconds = _seconds(on.device, lambda: transform(samples))
    what = f"log-mel spectrograms, preset {settings.preset}, 10 s clips on the device"
    return Line(what, CLIPS_AT_ONCE / seconds, "clips/s", None, *on.floor(operations, traffic))


def training(on: Device, settings: Settings, machines: int, clips: int, folder: Path, precision: Precision) -> Line:
    """Time steps of training, of one machine or of several at once; the rate counts each machine's steps."""
    changes = {"epochs": EPOCHS, "memory": 1e6, "precision": precision}
    settings = settings.model_copy(update={"training": settings.training.model_copy(update=changes)})
    sources = [_source(settings, folder / f"{number}.h5", clips, on.device) for number in range(machines)]
    states = [_state(settings, source, seed) for seed, source in enumerate(sources)]

    def whole_fit() -> None:
        for state in states:
            state.history.loss.clear()
        if machines == 1:
            fit(states[0], sources[0], None, settings.training, "one")
        else:
            names = [f"{number}" for number in range(machines)]
            keep: list[Callable[[State], None]] = [lambda _: None] * machines
            fit_stacked(states, sources, [None] * machines, settings.training, names, keep)

    steps = EPOCHS * -(-sources[0].windows // settings.training.batch_size)
    seconds = _seconds(on.device, whole_fit)
    launches = _launches(on.device, whole_fit) / steps if on.device.type == "cuda" else None
    widths = [sources[0].inputs, *settings.model.hidden, sources[0].inputs]
    batch = settings.training.batch_size
    products = [one * other for one, other in pairwise(widths)]
    # Forward, and backward to the weights and, but for the first layer, to its input.
    operations = machines * 2 * batch * (3 * sum(products) - products[0])
    # Weights and both moments read and written, the gradient both too; what each layer gives, written and read.
    traffic = machines * NUMBER_BYTES * (8 * sum(products) + 2 * batch * sum(widths))
    floor, limit = on.floor(operations, traffic, precision)
    models = "one model" if machines == 1 else f"{machines} models stacked"
    what = f"steps of training, preset {settings.preset}, {models}, {precision}"
    return Line(what, machines * steps / seconds, "steps/s", launches, machines * floor, limit)


def _source(settings: Settings, path: Path, clips: int, device: torch.device) -> WindowSource:
    if not path.exists():
        rng = np.random.default_rng(0)
        shape = (
            1 + CLIP_SECONDS * settings.audio.sample_rate // settings.features.hop_length,
            settings.features.n_mels,
        )
        frames = (rng.normal(-30, 10, shape).astype(np.float32) for _ in range(clips))
        cached = (CachedClip(Entry(f"{n}.wav", "train"), "", 0, each) for n, each in enumerate(frames))
        cache.write(path, cached, {}, n_mels=shape[1])
    with cache.read(path) as opened:
        return WindowSource([opened], [(0, clip) for clip in range(clips)], settings.window.frames, device)


def _state(settings: Settings, source: WindowSource, seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)
    network = Autoencoder(source.inputs, settings.model, generator).to(source.device)
    return start(trainable(network, source, settings.training), settings.training, generator)


def _seconds(device: torch.device, work: Callable[[], object], at_least: float = 1.0) -> float:
    """Return the shortest time of several goes, once warmed up, of a second together at least."""
    work()
    times: list[float] = []
    while len(times) < 3 or sum(times) < at_least:
        _wait(device)
        started = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - started)
    return min(times)


def _launches(device: torch.device, work: Callable[[], object]) -> int:
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        work()
        _wait(device)
    return sum(event.count for event in profiled.key_averages() if event.key in LAUNCHES)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(lines: Sequence[Line], about: str) -> str:
    """Write the lines as a Markdown table."""
    header = "| what | measured | launches a step | at most | share of it |\n|---|---|---|---|---|"
    return "\n".join([about, "", header, *map(str, lines)]) + "\n"


def main() -> None:
    """Measure, print the table, and write it to ``results/benchmarks/bench_gpu.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="`cpu` shows that all of this runs, and nothing about a GPU")
    parser.add_argument("--machines", type=int, default=41, help="models in a stack (default: 41)")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="of training")
    parser.add_argument("--clips", type=int, default=200, help="training clips of a machine (default: 200)")
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "benchmarks", help="where the table goes")
    options = parser.parse_args()
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("bench-gpu: PyTorch finds no GPU here, so nothing was measured; `offnote doctor` says what it finds")
    device = torch.device(options.device)
    set_threads(1)
    on = Device.measured(device, options.precisions)
    name = describe(device)
    about = (
        f"{name.get('name', device.type)}: "
        + ", ".join(f"{digits(flops / 1e12)} Tflop/s in {precision}" for precision, flops in on.flops.items())
        + f", {digits(on.bandwidth / 1e9)} GB/s, torch {torch.__version__}"
    )
    lines = []
    with TemporaryDirectory() as temporary:
        for preset in PRESETS:
            (settings,) = resolve({"preset": preset}).values()
            folder = Path(temporary) / preset
            folder.mkdir()
            lines.append(log_mel(on, settings))
            lines += [
                training(on, settings, machines, options.clips, folder, precision)
                for machines, precision in product((1, options.machines), options.precisions)
            ]
    written = table(lines, about)
    with replacing(options.folder / "bench_gpu.md") as path:
        path.write_text(written, encoding="utf-8")
    print(written)


if __name__ == "__main__":
    main()
