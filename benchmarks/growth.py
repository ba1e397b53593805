"""How cost grows with machines and clips: ``python -m benchmarks.growth`` runs the real Snakefile on sets of noise.

The clips are half a second long and every model is trained for an epoch, so that what is seen is the cost of handling
clips and machines. Times are those of one run each.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from offnote.config import ROOT
from offnote.errors import InputError
from offnote.files import replacing, write_csv

from benchmarks.clips import noise
from benchmarks.processes import Bench, limited_to
from benchmarks.tables import digits

SETTINGS = {"training": {"epochs": 1}, "evaluate": {"resamples": 0}, "jobs": {"machines": 16}}
STAGES = ("features", "train", "score")


class Point(NamedTuple):
    """What one run took: seconds in all, again with nothing to do, and the most MiB of a job of each stage."""

    machines: int
    clips: int
    seconds: float
    seconds_again: float
    features: float
    train: float
    score: float


def measured(bench: Bench, machines: int, clips: int) -> Point:
    """Run the workflow on a set of noise, and once more when all is done."""
    recordings = noise(bench.clips, machines, clips)
    folder = bench.fresh("growth")
    seconds, again = (bench.workflow(folder, recordings, SETTINGS) for _ in range(2))
    return Point(machines, clips, seconds, again, *(most_memory(folder / "logs" / stage) for stage in STAGES))


def most_memory(logs: Path) -> float:
    """Return the MiB of the largest job whose measurements Snakemake wrote below a folder."""
    lines = [line for path in logs.rglob("*.benchmark.jsonl") for line in path.read_text("utf-8").splitlines()]
    return max(float(json.loads(line)["max_rss"]) for line in lines)


def as_markdown(points: Sequence[Point]) -> str:
    """Write the points as a table."""
    lines = [
        "| machines | clips | s | ms a clip | s with nothing to do | MiB: features | training | scores |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for point in points:
        each = 1000 * point.seconds / point.clips
        numbers = [point.seconds, each, point.seconds_again, point.features, point.train, point.score]
        cells = [str(point.machines), f"{point.clips:,}", *map(digits, numbers)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(points: Sequence[Point], fixed_machines: int, fixed_clips: int, path: Path) -> None:
    """Draw seconds and memory over clips and over machines, from zero, so that what is linear is straight."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots(2, 2, sharey="row", squeeze=False)
    over_clips = sorted((point for point in points if point.machines == fixed_machines), key=lambda point: point.clips)
    over_machines = sorted((point for point in points if point.clips == fixed_clips), key=lambda point: point.machines)
    columns = (
        (over_clips, [point.clips for point in over_clips], f"clips of {fixed_machines} machines"),
        (over_machines, [point.machines for point in over_machines], f"machines with {fixed_clips:,} clips in all"),
    )
    for column, (some, places, label) in enumerate(columns):
        axes[0][column].plot(places, [point.seconds for point in some], marker="o", label="all to do")
        axes[0][column].plot(places, [point.seconds_again for point in some], marker="o", label="nothing to do")
        for stage in STAGES:
            axes[1][column].plot(places, [getattr(point, stage) for point in some], marker="o", label=stage)
        axes[1][column].set_xlabel(label)
    # When all is drawn: limits that are set stay as they are.
    for one in axes.flat:
        one.set_xlim(left=0)
        one.set_ylim(bottom=0)
        one.legend()
    axes[0][0].set_ylabel("seconds")
    axes[1][0].set_ylabel("most memory of a job, MiB")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})


def measured_sizes(bench: Bench, sizes: Iterable[tuple[int, int]]) -> list[Point]:
    """Run the workflow on a set of each size, so many machines and so many clips, and say which one is in turn."""
    points = []
    for machines, clips in dict.fromkeys(sizes):
        print(f"measuring {clips:,} clips of {machines} machines …", file=sys.stderr, flush=True)
        points.append(measured(bench, machines, clips))
    return points


def main() -> None:
    """Measure, and write ``results/benchmarks/growth.csv``, ``growth.md`` and ``growth.svg``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--machines", type=int, nargs="+", default=[1, 4, 16, 64], help="with the fixed clips")
    parser.add_argument("--clips", type=int, nargs="+", default=[1000, 3000, 10_000, 30_000], help="of fixed machines")
    parser.add_argument("--fixed-machines", type=int, default=16, help="while clips grow (default: 16)")
    parser.add_argument("--fixed-clips", type=int, default=3000, help="while machines grow (default: 3000)")
    parser.add_argument("--cores", type=int, default=2, help="cores to use (default: 2)")
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "benchmarks", help="where it all goes")
    options = parser.parse_args()
    sizes = [(machines, options.fixed_clips) for machines in options.machines]
    sizes += [(options.fixed_machines, clips) for clips in options.clips]
    try:
        limited_to(options.cores)
        points = measured_sizes(Bench(options.folder.resolve(), options.cores, repetitions=1, full=False), sizes)
    except InputError as error:
        sys.exit(f"benchmarks: {error}")
    write_csv(options.folder / "growth.csv", Point._fields, (point._asdict() for point in points))
    with replacing(options.folder / "growth.md") as path:
        path.write_text(as_markdown(points) + "\n", encoding="utf-8")
    draw(points, options.fixed_machines, options.fixed_clips, options.folder / "growth.svg")
    print(as_markdown(points))


if __name__ == "__main__":
    main()
