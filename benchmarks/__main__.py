"""`python -m benchmarks`: measure, and write ``results/benchmarks/bench.csv`` and ``bench.md``."""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

from offnote.config import ROOT
from offnote.errors import InputError
from offnote.processor import DESCRIPTION

from benchmarks.comparisons import COMPARISONS
from benchmarks.measurement import Row
from benchmarks.processes import Bench, limited_to
from benchmarks.tables import as_markdown, write_tables


def main() -> None:
    """Measure what the command line names, row by row, and write the table anew after each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Times offnote beside the usual recipe.")
    parser.add_argument("--full", action="store_true", help="sets of full size: about two hours in place of minutes")
    parser.add_argument("--only", nargs="+", choices=COMPARISONS, default=list(COMPARISONS), help="these rows only")
    parser.add_argument("--repetitions", type=int, default=3, help="times that each side is measured (default: 3)")
    parser.add_argument("--cores", type=int, default=2, help="cores that each side may use (default: 2)")
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "benchmarks", help="where it all goes")
    options = parser.parse_args()
    if options.repetitions < 1:
        parser.error("--repetitions must be 1 or more")
    name = "bench_full" if options.full else "bench"
    command = " ".join(["python -m benchmarks", *sys.argv[1:]])
    about = (
        f"`{command}`, {options.repetitions} repetitions, {options.cores} cores, Python {platform.python_version()}, "
        f"{platform.system()} on {_processor()}. Medians, and in brackets the lowest and the highest."
    )
    if not options.full:
        about += " Goals are those of the full sizes, `--full`: in smaller jobs starts weigh more."
    rows: list[Row] = []
    try:
        limited_to(options.cores)
        bench = Bench(options.folder.resolve(), options.cores, options.repetitions, options.full)
        for what in options.only:
            print(f"measuring {what} …", file=sys.stderr, flush=True)
            rows += COMPARISONS[what](bench)
            write_tables(options.folder, name, rows, about)
    except InputError as error:
        sys.exit(f"benchmarks: {error}")
    print(f"{about}\n\n{as_markdown(rows)}")
    print(f"{options.folder / name}.csv and .md hold this table.")


def _processor() -> str:
    """Return what the system calls the processor: which ratios come out depends on it, too."""
    lines = DESCRIPTION.read_text().splitlines() if DESCRIPTION.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


if __name__ == "__main__":
    main()
