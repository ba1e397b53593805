"""The rows of a comparison as CSV, for programs, and as Markdown, for readers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from offnote.files import replacing

from benchmarks.measurement import Row, summarised

COLUMNS = (
    *("name", "what", "unit", "offnote", "compared_with", "other", "ratio", "ratio_low", "ratio_high", "goal"),
    *("reached", "repetitions"),
)


def as_csv(rows: Sequence[Row]) -> str:
    """Write the rows, numbers in full; `ratio` is empty where nothing is compared."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        ratio = [row.figure.middle, row.figure.lowest, row.figure.highest] if row.other else [""] * 3
        other = summarised(row.other_costs).middle if row.other else ""
        costs = [row.name, row.what, row.unit, summarised(row.costs).middle, row.other, other]
        writer.writerow([*costs, *ratio, str(row.goal), "yes" if row.reached else "no", len(row.costs)])
    return text.getvalue()


def as_markdown(rows: Sequence[Row]) -> str:
    """Write the rows with three digits: medians, and in brackets the lowest and the highest."""
    lines = ["| what | offnote | compared with | ratio | goal |", "|---|---|---|---|---|"]
    for row in rows:
        ours = _with_unit(summarised(row.costs).middle, row.unit)
        other = f"{row.other}: {_with_unit(summarised(row.other_costs).middle, row.unit)}" if row.other else "–"
        figure = row.figure
        spread = f"[{digits(figure.lowest)}, {digits(figure.highest)}]"
        if row.other:
            ratio = f"**{digits(figure.middle)}×** {spread} {'less' if row.gain else 'of it'}"
        else:
            ratio = f"**{_with_unit(figure.middle, row.unit)}** {spread}"
        goal = f"{row.goal}, {'reached' if row.reached else 'not reached'}"
        lines.append(f"| {row.what} | {ours} | {other} | {ratio} | {goal} |")
    return "\n".join(lines) + "\n"


def digits(value: float) -> str:
    """Write a number with three digits, thousands in full.

    Examples
    --------
    >>> digits(0.012345), digits(3.0), digits(1234.5)
    ('0.0123', '3.00', '1234')
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:#.3g}".removesuffix(".")


def write_tables(folder: Path, name: str, rows: Sequence[Row], above: str) -> None:
    """Write ``<name>.csv`` and ``<name>.md`` into `folder`; `above` stands before the Markdown table."""
    for suffix, text in ((".csv", as_csv(rows)), (".md", f"{above}\n\n{as_markdown(rows)}")):
        with replacing(folder / f"{name}{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")


def _with_unit(value: float, unit: str) -> str:
    return f"{digits(value)} {unit}"
