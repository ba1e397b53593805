"""The command `offnote`: what is of use beside the workflow."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from offnote import __version__
from offnote.config import ROOT
from offnote.config_files import name_files, read_files
from offnote.errors import InputError
from offnote.wording import first_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command `offnote`.

    Parameters
    ----------
    arguments
        What stands after the command's name; by default the process's.

    Returns
    -------
    int
        The exit status: 0 where all is well, 1 otherwise.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.action(options))
    except InputError as error:
        print(f"offnote: {error}", file=sys.stderr)
    except BrokenPipeError:
        # Whoever reads has enough, as `head` has. Python would complain once more when it closes the output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"offnote: {error.filename or 'output'}: {error.strerror}", file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "offnote", description="Anomalous sound detection for machines, beside the workflow."
    )
    parser.add_argument("--version", action="version", version=f"offnote {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    sheet = commands.add_parser("sheet", help="write a first sample sheet for a folder of recordings")
    sheet.add_argument("folder", type=Path, help="any folder with recordings below it")
    sheet.add_argument("--output", type=Path, help="the sheet to write (default: FOLDER/sheet.tsv)")
    sheet.set_defaults(action=_sheet)
    doctor = commands.add_parser("doctor", help="check versions, GPU, driver and disk before a run")
    doctor.add_argument(
        "--configfile",
        "--configfiles",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="files to lay over config/config.yaml, each over those before it, as snakemake does; config/config.yaml "
        "is that of this folder, or of the checkout where there is none",
    )
    doctor.set_defaults(action=_doctor)
    of_a_year = argparse.ArgumentParser(add_help=False)
    of_a_year.add_argument("--year", type=int, required=True, help="the challenge's year, such as 2022")
    of_a_year.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    evaluate = commands.add_parser(
        "evaluate", parents=[of_a_year], help="evaluate anyone's challenge scores as the evaluators of that year do"
    )
    evaluate.add_argument("folder", type=Path, metavar="DIR", help="score (and decision) files in that year's names")
    evaluate.add_argument(
        "--labels",
        type=Path,
        metavar="PATH",
        help="the evaluators' ground truth, a folder of tables or 2020's list (default: the clips' names tell)",
    )
    evaluate.add_argument("--output", type=Path, metavar="FOLDER", help="also write the tables, CSV and Markdown, here")
    evaluate.set_defaults(action=_evaluate)
    check = commands.add_parser(
        "check-submission",
        parents=[of_a_year],
        help="list everything that is wrong with anyone's submission to the challenge",
    )
    check.add_argument(
        "path", type=Path, metavar="PATH", help="a zip archive, the folder task2, or the folder of one system"
    )
    check.add_argument(
        "--clips",
        type=Path,
        metavar="PATH",
        help="the evaluation recordings, a folder or a clip list (.tsv): every test clip then needs its row",
    )
    check.set_defaults(action=_check_submission)
    return parser


def _sheet(options: argparse.Namespace) -> int:
    from offnote.datasets import find_unreadable
    from offnote.sheet import write_sheet

    if not options.folder.is_dir():
        raise InputError(f"{options.folder} is not a folder")
    path = options.output or options.folder / "sheet.tsv"
    clips = write_sheet(options.folder, path)
    counts = Counter((clip.machine, clip.split, clip.label or "unlabelled") for clip in clips)
    for (machine, split, label), count in sorted(counts.items()):
        print(f"{'/'.join(machine):30} {split:12} {label:10} {count:6}")
    if not any(clip.label for clip in clips):
        print("\nNo name tells a label: if some of these recordings are of faults, say so in the column label")
    machines = dict.fromkeys(str(clip.machine) for clip in clips)
    if untrained := machines.keys() - {str(clip.machine) for clip in clips if clip.split == "train"}:
        names = ", ".join(name for name in machines if name in untrained)
        print(f"\nNo training clips, so no model: {names}. Set split to train for normal recordings")
    if others := find_unreadable(options.folder):
        left_out = f"Left out, of formats that are not read here: {first_of(others)}"
        print(f"\n{left_out}. Convert them to WAV or FLAC, and write the sheet again")
    print(f"\nWrote {path}, guessed from names. Look over machines, splits and labels, then set in config/config.yaml")
    name = clips[0].machine_type
    print(_yaml_line({"dataset": {"name": f"my_{name}" if name == "demo" else name, "path": str(path)}}))
    return 0


def _yaml_line(config: Mapping[str, Any]) -> str:
    """Write a section as one line of YAML, with quotes where it needs them."""
    return yaml.safe_dump(config, default_flow_style=None, sort_keys=False, allow_unicode=True, width=math.inf).rstrip()


def _doctor(options: argparse.Namespace) -> int:
    from offnote.doctor import examine

    own = Path("config/config.yaml")
    files = [own if own.exists() else ROOT / own, *options.configfile]
    config = read_files(files)
    print(f"     configuration: {name_files(files)}")
    findings = []
    for finding in examine(config, Path("results")):
        print(f"{'ok  ' if finding.good else 'BAD '} {finding.text}", flush=True)
        findings.append(finding)
    return 0 if all(finding.good for finding in findings) else 1


def _evaluate(options: argparse.Namespace) -> int:
    from offnote.official import evaluate, report, write_tables

    evaluation = evaluate(options.folder, options.year, options.labels)
    name = options.folder.resolve().name
    written = write_tables(options.output, name, evaluation) if options.output else []
    if options.json:
        print(json.dumps(evaluation.as_json(), indent=2, allow_nan=False))
        return 0
    print("\n".join(report(name, evaluation)))
    if written:
        print(f"\nWrote {', '.join(map(str, written))}")
    return 0


def _check_submission(options: argparse.Namespace) -> int:
    from offnote.package_check import check_submission, report

    check = check_submission(options.path, options.year, options.clips)
    print(json.dumps(check.as_json(), indent=2) if options.json else "\n".join(report(str(options.path), check)))
    return 1 if check.mistakes else 0
