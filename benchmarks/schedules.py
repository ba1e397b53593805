"""What the fast schedule costs in AUC: ``python -m benchmarks.schedules`` trains with both, and compares them in pairs.

Both schedules see the same clips, hold out the same ones and start from the same weights: machine by machine they are
a pair. The demo set's machines of 2020 whose labels are known stand in for machines. Choices were made on another seed
of the set than the one that is reported here.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml
from offnote.challenge import load_challenge
from offnote.config import ROOT
from offnote.errors import InputError
from offnote.files import replacing
from scipy.stats import t

from benchmarks.processes import Bench, limited_to

YEAR = 2020
SCHEDULES = ("published", "fast")
CONFIDENCE = 0.95
GOAL = 0.5
"""AUC points that may be lost at most: the upper end of the interval."""


@dataclass(frozen=True)
class Loss:
    """What was lost on average, and the interval around it over machines.

    Attributes
    ----------
    mean, low, high : float
        Published less fast; below zero, fast is better.
    machines : int
        How many there were.
    """

    mean: float
    low: float
    high: float
    machines: int


def paired_loss(published: Mapping[str, float], fast: Mapping[str, float]) -> Loss:
    """Compare two figures of each machine in pairs, by Student's t over the machines.

    Raises
    ------
    ValueError
        The machines differ, or are fewer than two.

    Examples
    --------
    >>> loss = paired_loss({"a": 90.0, "b": 80.0, "c": 70.0}, {"a": 89.0, "b": 80.0, "c": 71.0})
    >>> loss.mean, round(loss.low, 2), round(loss.high, 2)
    (0.0, -2.48, 2.48)
    """
    if published.keys() != fast.keys() or len(published) < 2:
        raise ValueError("two machines or more are needed, the same of both schedules")
    lost = [published[machine] - fast[machine] for machine in published]
    reach = float(t.ppf((1 + CONFIDENCE) / 2, len(lost) - 1)) * stdev(lost) / math.sqrt(len(lost))
    return Loss(mean(lost), mean(lost) - reach, mean(lost) + reach, len(lost))


def configuration(preset: str, train: int, trials: int, seed: int) -> dict[str, Any]:
    """Return the configuration of both runs: 100 normal and 100 anomalous test clips a machine."""
    development = load_challenge(YEAR).machines["development"]
    machines = [f"{name}/{machine_id}" for name, ids in development.items() for machine_id in ids]
    return {
        "run": "published",
        "preset": preset,
        "dataset": {"machines": machines},
        "demo": {"year": YEAR, "train": train, "test_normal": 100, "test_anomaly": 100, "seed": seed},
        "training": {"trials": trials},
        "evaluate": {"resamples": 0},
        "jobs": {"machines": math.ceil(len(machines) / 4)},
        "runs": {"fast": {"training": {"schedule": "fast"}}},
    }


def figures(table: Path, figure: str) -> dict[str, float]:
    """Return a figure of each machine in per cent, the mean over its trials, from ``tables/machines.csv``."""
    with table.open(encoding="utf-8", newline="") as stream:
        return {
            f"{row['machine_type']}/{row['machine_id']}": 100 * float(row[figure])
            for row in csv.DictReader(stream)
            if row["trial"] == "mean"
        }


def passes(folder: Path) -> int:
    """Return how many passes over the training windows a run's models took, from the first ``loss.csv``."""
    table = next(folder.glob("models/*/*/trial_0/loss.csv"))
    return len(table.read_text(encoding="utf-8").splitlines()) - 1


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Write the table."""
    head = ["preset", "passes", "machines", "figure", "published %", "fast %", "lost, points, and 95 % interval"]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def compare(folder: Path, preset: str) -> list[list[str]]:
    """Return the rows of a preset whose runs lie in `folder`."""
    results = folder / "results"
    taken = "/".join(str(passes(results / schedule)) for schedule in SCHEDULES)
    rows = []
    for figure, name in (("auc", "AUC"), ("pauc", "pAUC")):
        published, fast = (figures(results / schedule / "tables" / "machines.csv", figure) for schedule in SCHEDULES)
        loss = paired_loss(published, fast)
        verdict = f"**{loss.mean:+.2f}** [{loss.low:+.2f}, {loss.high:+.2f}]"
        if figure == "auc":
            verdict += f", {'within' if loss.high <= GOAL else 'not within'} {GOAL}"
        averages = [f"{mean(values.values()):.2f}" for values in (published, fast)]
        rows.append([f"`{preset}`", taken, str(loss.machines), name, *averages, verdict])
    return rows


def measured(bench: Bench, preset: str, train: int, trials: int, seed: int) -> list[list[str]]:
    """Train with both schedules through the real Snakefile, write the configuration, and return the preset's rows."""
    settings = configuration(preset, train, trials, seed)
    folder = bench.folder / "work" / f"schedule_{preset}_{train}_{trials}_{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    bench.snakemake(folder, settings)
    write(bench.folder / f"schedule_{preset}.yaml", yaml.safe_dump(settings))
    return compare(folder, preset)


def write(path: Path, text: str) -> None:
    """Write a file whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def main() -> None:
    """Measure preset by preset, and write ``schedule.md`` anew after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedules", description="What the fast schedule costs.")
    parser.add_argument("--presets", nargs="+", default=["mimii"], help="recipes to compare on (default: mimii)")
    parser.add_argument("--train", type=int, default=100, help="training clips of a machine (default: 100)")
    parser.add_argument("--trials", type=int, default=3, help="trials of each model (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="of the demo set; choices were made on 1 (default: 0)")
    parser.add_argument("--cores", type=int, default=2, help="cores to use (default: 2)")
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "benchmarks", help="where it all goes")
    options = parser.parse_args()
    command = " ".join(["python -m benchmarks.schedules", *sys.argv[1:]])
    about = f"`{command}`: {options.train} training clips a machine, 100 + 100 test clips, {options.trials} trials."
    rows: list[list[str]] = []
    try:
        limited_to(options.cores)
        bench = Bench(options.folder.resolve(), options.cores, repetitions=1, full=False)
        for preset in options.presets:
            rows += measured(bench, preset, options.train, options.trials, options.seed)
            write(options.folder / "schedule.md", f"{about}\n\n{as_markdown(rows)}")
    except InputError as error:
        sys.exit(f"benchmarks: {error}")
    print(as_markdown(rows))


if __name__ == "__main__":
    main()
