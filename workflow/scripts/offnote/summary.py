"""The summary of a run, in Markdown: what the tables say, in a form to read, and how far to trust it."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markdown_it import MarkdownIt

from offnote import metrics
from offnote.config import Evaluate
from offnote.scores import name_clip
from offnote.status import Status
from offnote.wording import counted

Row = Mapping[str, Any]

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Summary</title>
<style>
body {{ font-family: sans-serif; line-height: 1.5; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222; }}
table {{ border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; }}
th, td {{ border-bottom: 1px solid #ccc; padding: 0.3em 0.8em; text-align: left; }}
</style>
</head>
<body>
{body}</body>
</html>
"""

COUNTS = ("normal", "anomaly", "unlabelled")
MEASURES = ("score", "percentile", "deviation")

SHOWN = 20
"""Clips in a list of the summary; the tables hold them all."""


def html_page(text: str) -> str:
    """Turn the summary's Markdown into a page, for Snakemake's report.

    Examples
    --------
    >>> "<h1>Run <code>demo</code></h1>" in html_page("# Run `demo`")
    True
    """
    return PAGE.format(body=MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


def summary_lines(
    run: str,
    settings: Evaluate,
    machines: Sequence[Row],
    types: Sequence[Row],
    clips: Sequence[Row],
    decisions: Sequence[Row],
    excluded: Sequence[Row],
    unscored: Sequence[tuple[str, str]],
) -> Iterator[str]:
    """Yield the lines of the summary.

    Parameters
    ----------
    run
        Name of the run.
    settings
        The ``evaluate`` section of the configuration.
    machines, types, clips, decisions
        The rows of the four tables, as :func:`offnote.evaluation.evaluate` describes them.
    excluded
        The rows of the table of excluded clips.
    unscored
        Machine and path of each recording of which no slice was left to score.
    """
    means = [row for row in machines if row.get("trial", "mean") == "mean"]
    trials = [row for row in machines if row.get("trial", "mean") != "mean"]
    yield from _opening(run, settings, means, len({row["trial"] for row in trials}))
    if excluded:
        yield from _exclusions(excluded)
    rated = [row for row in means if row["status"] == Status.OK]
    if rated:
        yield from _detection(settings, rated, types, trials)
    new = [row for row in clips if row["label"] == ""]
    if new:
        yield from _new_clips(new)
    decided = [row for row in decisions if not math.isnan(row["threshold"])]
    if decided:
        yield from _decisions(settings, decided)
    undecided = dict.fromkeys(_name(row) for row in decisions if math.isnan(row["threshold"]))
    if undecided:
        yield ""
        needs = {
            "conformal": "no clips were held out to choose it from. Hold some out (`training.validation`; of one clip "
            "alone none can be: record more, or cut it by `slice.length`), or set `evaluate.threshold: gamma`",
            "gamma": "a gamma distribution needs two training clips or more, of different scores. Record more, hold "
            "fewer out (`training.validation`), or set `evaluate.threshold: conformal`",
        }
        yield (
            f"No threshold for {', '.join(undecided)}: {needs[settings.threshold]}. None of this helps a machine that "
            "has no training clips of its own, or whose training clips are excluded."
        )
    unrated = [row for row in means if row["status"] != Status.OK]
    if unrated:
        yield from ("", "## Machines without an AUC", "")
        cells = [[_name(row), row["status"], *(str(row[name]) for name in COUNTS)] for row in unrated]
        yield from _markdown(["machine", "why", *COUNTS], cells)
    if unscored:
        yield from ("", "## Recordings that gave no clip", "")
        yield from ("Cut into slices, nothing was left of them to score.", "")
        yield from _markdown(["machine", "recording"], [[name, _code(path)] for name, path in unscored])


def _opening(run: str, settings: Evaluate, machines: Sequence[Row], trials: int) -> Iterator[str]:
    totals = {name: sum(row[name] for row in machines) for name in COUNTS}
    counts = ", ".join(f"{count} {name}" for name, count in totals.items())
    yield from (f"# Run {_code(run)}", "")
    yield (
        f"{counted(len(machines), 'machine')}, {counted(sum(totals.values()), 'test clip')} ({counts}), "
        f"{counted(trials, 'trial')}. The score of a clip is the column {_code(settings.aggregator)} of the score "
        "files; higher is more anomalous."
    )


def _exclusions(excluded: Sequence[Row]) -> Iterator[str]:
    splits = Counter(row["split"] for row in excluded)
    counts = ", ".join(f"{count} of split {split}" for split, count in sorted(splits.items()))
    yield ""
    yield f"**Without {counted(len(excluded), 'broken clip')}** ({counts}), which `tables/excluded.csv` lists:"
    yield ""
    cells = [
        [_name(row), _code(name_clip((row["path"], row["start"], row["end"]))), row["split"], _plain(row["reason"])]
        for row in excluded[:SHOWN]
    ]
    yield from _markdown(["machine", "clip", "split", "why"], cells)
    if len(excluded) > SHOWN:
        yield from ("", f"… and {len(excluded) - SHOWN} more.")


def _detection(settings: Evaluate, rated: Sequence[Row], types: Sequence[Row], trials: Sequence[Row]) -> Iterator[str]:
    bounds = f" [{100 * settings.confidence:.3g} %]" if settings.resamples else ""
    heads = [f"AUC %{bounds}", f"pAUC %{bounds}"]
    yield from ("", "## Anomalies against normal clips", "")
    yield (
        "AUC is the chance that an anomalous clip scores higher than a normal one: 50 % is guessing, 100 % perfect. "
        f"pAUC looks only at false alarm rates up to {100 * settings.max_fpr:.3g} %, and 50 % is guessing there too."
    )
    yield from ("", *_resolution(settings, rated), "")
    yield from _markdown(
        ["machine type", "machines", *heads], [[*_type_texts(row), *_area_texts(row)] for row in types]
    )
    yield from ("", "### Machines", "")
    rows = [
        [_name(row), *_area_texts(row), _spread(row, trials), *(str(row[name]) for name in COUNTS)] for row in rated
    ]
    yield from _markdown(["machine", *heads, "AUC % of the trials", *COUNTS], rows)


def _resolution(settings: Evaluate, rated: Sequence[Row]) -> Iterator[str]:
    """Say what the numbers can and cannot tell apart."""
    if settings.resamples:
        yield (
            f"In brackets: {100 * settings.confidence:.3g} % intervals from {settings.resamples} bootstrap resamples "
            "of the test clips. They say how far a number may move with other recordings of the same kind; not how far "
            "with other training seeds, and too little where clips resemble each other, as slices of one recording do."
        )
        yield ""
    smallest = min(rated, key=lambda row: (min(row["normal"], row["anomaly"]), _name(row)))
    clips = min(smallest["normal"], smallest["anomaly"])
    normal = min(row["normal"] for row in rated)
    # Rounded, as a tenth of thirty is a hair above three in binary.
    highest = math.ceil(round(settings.max_fpr * normal, 9))
    yield (
        f"Few clips resolve little. One clip of the smallest class ({counted(clips, 'clip')}, {_name(smallest)}) can "
        f"move its machine's AUC by {100 / clips:.3g} points; a pAUC is decided by the "
        f"{'' if highest == 1 else f'{highest} '}highest of {counted(normal, 'normal clip')} where there are fewest."
    )


def _decisions(settings: Evaluate, decided: Sequence[Row]) -> Iterator[str]:
    yield from ("", "## Alarms", "")
    if settings.threshold == "conformal":
        yield (
            "A clip raises an alarm where its score is above its machine's threshold, which was chosen from normal "
            "clips kept out of the training. Of new normal clips recorded like those, on average at most the share "
            f"*stated* raises a false alarm: {100 * settings.false_alarm_rate:.3g} % as configured, or more where too "
            "few clips were held out to promise that. The fewer they are, the further a single machine may be off. "
            "*Found* is what came out on the normal test clips: much more, with many held-out clips, says that those "
            "are not like what the machine was trained on."
        )
    else:
        yield (
            "A clip raises an alarm where its score is above its machine's threshold: the point of a gamma "
            f"distribution that leaves {100 * settings.false_alarm_rate:.3g} % above it, fitted to the scores of the "
            "clips that were trained on. As the model knows those best, more normal clips than that raise an alarm."
        )
    yield ""
    machines: dict[str, list[Row]] = defaultdict(list)
    for row in decided:
        machines[_name(row)].append(row)
    shares = ["stated_rate", "false_alarm_rate", "false_alarm_rate_source", "false_alarm_rate_target"]
    shares += ["recall", "precision"]
    rows = [
        [
            name,
            *(_number(100 * _mean_of(trials, share)) for share in shares),
            f"{_mean_of(trials, 'unlabelled_alarms'):g}",
            f"{_mean_of(trials, 'clips'):g}",
        ]
        for name, trials in machines.items()
    ]
    heads = ["stated %", "found %", "source %", "target %", "anomalies that alarm %", "alarms that are anomalies %"]
    chosen = [place for place in range(len(heads)) if any(row[1 + place] != "–" for row in rows)]
    yield "False alarms, means over trials:"
    yield ""
    yield from _markdown(
        ["machine", *(heads[place] for place in chosen), "unlabelled alarms", "clips behind the threshold"],
        [[row[0], *(row[1 + place] for place in chosen), *row[-2:]] for row in rows],
    )


def _mean_of(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([row.get(name, math.nan) for row in rows]))


def _new_clips(new: Sequence[Row]) -> Iterator[str]:
    machines: dict[str, list[Row]] = defaultdict(list)
    for row in new:
        machines[_name(row)].append(row)
    yield from ("", "## New clips, without labels", "", *_how_to_read_percentiles(machines.values()))
    yield from ("", "### Machines, most unusual first", "")
    heads = ["new clips", "above the 95 % point", "unchanged: at most", "median percentile", "held-out clips"]
    yield from _markdown(["rank", "machine", *heads], _unusual_machines(machines))
    yield from ("", f"### The {min(SHOWN, len(new))} most unusual of {counted(len(new), 'new clip')}", "")
    rows = [
        [
            *(str(rank), _name(row), _code(name_clip((row["path"], row["start"], row["end"])))),
            *(f"{row['score']:.4g}", _number(row["percentile"]), _number(row["deviation"]), str(row["held_out"])),
        ]
        for rank, row in enumerate(new[:SHOWN], start=1)
    ]
    yield from _markdown(["rank", "machine", "clip", *MEASURES, "held-out clips"], rows)


def _how_to_read_percentiles(machines: Collection[Sequence[Row]]) -> Iterator[str]:
    held_out = [rows[0]["held_out"] for rows in machines]
    without = [rows[0] for rows in machines if not rows[0]["held_out"]]
    yield (
        "A clip's percentile is its place among the machine's held-out clips: normal clips kept out of the training. "
        "Deviation is the distance from their median in units of their spread (with fewer than two held out, from that "
        "of all training clips); it ranks the clips that lie above all of them. Where a machine sounds as it did in "
        "training, the median percentile is near 50, and in 19 cases of 20 no more clips lie above the 95 % "
        "point of the held-out ones than *unchanged: at most* says, as far as clips are recorded "
        "independently. More mean that the machine, its surroundings or the microphone has changed."
    )
    known = sorted(filter(None, held_out))
    if known:
        yield ""
        count = (
            counted(known[-1], "held-out clip")
            if known[0] == known[-1]
            else f"{known[0]} to {known[-1]} held-out clips"
        )
        yield (
            f"The percentiles rest on {count} a machine: at worst they come in steps of "
            f"{100 / known[0]:.3g}, half that on a tie, and 100 says no more than *above all of them*."
        )
    if without:
        yield from ("", "Machines without held-out clips (`training.validation`) have no percentile.")
    if any(not math.isnan(row["deviation"]) for row in without):
        yield (
            "Their deviation is from the clips that the model was trained on, which it knows better than any new clip: "
            "read it as a ranking only."
        )
    if any(math.isnan(row["deviation"]) for row in without):
        yield (
            "A machine with no training clips of its own, or one alone, has no deviation either: its clips are ranked "
            "by their scores."
        )


def _unusual_machines(machines: Mapping[str, Sequence[Row]]) -> Iterator[list[str]]:
    nothing = {"share_above_95": math.nan, "median_percentile": math.nan}
    found = {
        name: nothing | metrics.unusual(np.array([row["percentile"] for row in rows]))
        for name, rows in machines.items()
    }
    ranked = sorted(machines, key=lambda name: (*metrics.downwards(*(found[name][key] for key in nothing)), name))
    for rank, name in enumerate(ranked, start=1):
        held_out = machines[name][0]["held_out"]
        shares = [
            _number(100 * share, " %")
            for share in (found[name]["share_above_95"], metrics.healthy_share(held_out, len(machines[name])))
        ]
        median = _number(found[name]["median_percentile"])
        yield [str(rank), name, str(len(machines[name])), *shares, median, str(held_out)]


def _name(row: Row) -> str:
    return f"{row['machine_type']}/{row['machine_id']}"


def _type_texts(row: Row) -> tuple[str, str]:
    everything = f"**mean over all {row['mean_over']}**"
    return everything if row["machine_type"] == "all" else row["machine_type"], str(row["machines"])


def _area_texts(row: Row) -> list[str]:
    texts = []
    for name in ("auc", "pauc"):
        value, low, high = (100 * row.get(key, math.nan) for key in (name, f"{name}_low", f"{name}_high"))
        texts.append(_number(value) + ("" if math.isnan(low) else f" [{low:.1f}, {high:.1f}]"))
    return texts


def _spread(machine: Row, trials: Sequence[Row]) -> str:
    areas = [100 * row["auc"] for row in trials if _name(row) == _name(machine)]
    return f"{min(areas):.1f} to {max(areas):.1f}" if len(areas) > 1 else "–"


def _number(value: float, unit: str = "") -> str:
    return "–" if math.isnan(value) else f"{value:.1f}{unit}"


def _code(text: str) -> str:
    if "`" not in text:
        return f"`{text}`"
    fence = "`" * (1 + max(map(len, re.findall("`+", text))))
    return f"{fence} {text} {fence}"


def _plain(text: str) -> str:
    """Return text that may be a stranger's, of which nothing is taken for Markdown."""
    return re.sub(r"[\\`*\[<&]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", text)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
