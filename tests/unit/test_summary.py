"""The summary is a page that Markdown and HTML readers show whole, whatever the names in it."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from offnote.config import Evaluate
from offnote.summary import SHOWN, html_page, summary_lines

SETTINGS = Evaluate()
NAMES = {"machine_type": "fan", "machine_id": "id_00"}
COUNTS = {"normal": 4, "anomaly": 6, "unlabelled": 0}
AREAS = {"auc": 0.9, "auc_low": 0.8, "auc_high": 0.95, "pauc": 0.7, "pauc_low": 0.6, "pauc_high": 0.85}
UNUSUAL = {"median_percentile": 50.0, "share_above_95": 0.1}
MACHINES: list[dict[str, Any]] = [
    {**NAMES, "trial": trial, **AREAS, "auc": auc, **COUNTS, **UNUSUAL, "status": "ok"}
    for trial, auc in [(0, 0.85), (1, 0.95), ("mean", 0.9)]
]
TYPES: list[dict[str, Any]] = [
    {"machine_type": "fan", "mean_over": "machines", "machines": 1, **AREAS},
    {"machine_type": "all", "mean_over": "machines", "machines": 1, **AREAS},
]


def clip(path: str, label: str = "", percentile: float = 99.0) -> dict[str, Any]:
    measures = {"score": 1.5, "percentile": percentile, "deviation": 2.0, "held_out": 10}
    return {**NAMES, "path": path, "start": None, "end": None, "label": label, **measures}


def excluded(count: int) -> list[dict[str, Any]]:
    names = [f"broken {number}.wav" for number in range(count)]
    return [{**NAMES, "path": name, "start": None, "end": None, "split": "test", "reason": "silent"} for name in names]


def decision(trial: int) -> dict[str, Any]:
    rates = {"stated_rate": 0.1, "false_alarm_rate": 0.25 + 0.25 * trial, "recall": 0.5, "precision": 0.6}
    return {**NAMES, "trial": trial, "threshold": 1.0, **rates, **COUNTS, "unlabelled_alarms": 0, "clips": 9}


def test_alarms_are_told_as_means_over_trials() -> None:
    text, root = page(decisions=[decision(0), decision(1)])
    assert tables(root)[-1][1] == ["fan/id_00", "10.0", "37.5", "50.0", "60.0", "0", "9"]
    assert "on average at most the share *stated*" in text
    without = page(decisions=[decision(0) | {"threshold": math.nan}])[0]
    assert "Alarms" not in without
    assert "No threshold for fan/id_00: no clips were held out to choose it from" in without


def page(**changes: Any) -> tuple[str, ET.Element]:
    rows: dict[str, Any] = {"machines": MACHINES, "types": TYPES, "clips": [], "decisions": []}
    rows |= {"excluded": [], "unscored": []}
    text = "\n".join(summary_lines("trial", SETTINGS, **rows | changes)) + "\n"
    body = html_page(text).replace("<!DOCTYPE html>", "").replace('<meta charset="utf-8">', "")
    return text, ET.fromstring(body)


def tables(root: ET.Element) -> list[list[list[str]]]:
    return [
        [[" ".join("".join(cell.itertext()).split()) for cell in row] for row in table.iter("tr")]
        for table in root.iter("table")
    ]


def test_labelled_machines_have_their_areas_with_bounds_and_the_spread_of_the_trials() -> None:
    text, root = page()
    types, machines = tables(root)
    assert types[1] == ["fan", "1", "90.0 [80.0, 95.0]", "70.0 [60.0, 85.0]"]
    assert types[2][0] == "mean over all machines"
    assert machines[1] == ["fan/id_00", "90.0 [80.0, 95.0]", "70.0 [60.0, 85.0]", "85.0 to 95.0", "4", "6", "0"]
    assert "1 machine, 10 test clips (4 normal, 6 anomaly, 0 unlabelled), 2 trials" in text
    assert "One clip of the smallest class (4 clips, fan/id_00) can move its machine's AUC by 25 points" in text


@pytest.mark.parametrize(
    ("normal", "says"), [(3, "the highest of 3 normal"), (30, "the 3 highest of 30"), (31, "the 4 h")]
)
def test_the_normal_clips_behind_a_partial_area_are_whole_ones(normal: int, says: str) -> None:
    assert f"a pAUC is decided by {says}" in page(machines=[row | {"normal": normal} for row in MACHINES])[0]


def test_what_machines_without_held_out_clips_are_compared_with() -> None:
    trained = "Their deviation is from the clips that the model was trained on"
    alone = "A machine with no training clips of its own, or one alone, has no deviation either"
    with_some = clip("a.wav") | {"held_out": 9, "deviation": 1.0}
    by_training = clip("b.wav") | {"held_out": 0, "percentile": math.nan, "deviation": 1.0, "machine_id": "id_02"}
    by_nothing = by_training | {"deviation": math.nan, "machine_id": "id_04"}
    for clips, says in (
        ([with_some], (False, False)),
        ([with_some, by_training], (True, False)),
        ([with_some, by_nothing], (False, True)),
        ([by_training, by_nothing], (True, True)),
    ):
        text = page(clips=clips)[0]
        assert (trained in text, alone in text) == says
        assert ("have no percentile" in text) == any(says)


@pytest.mark.parametrize("path", ["a|b.wav", "späte Schicht/<1>.wav", "a_*b*_.wav", "`a``b`.wav"])
def test_names_of_clips_come_through_markdown_unharmed(path: str) -> None:
    _, root = page(clips=[clip(path)])
    assert [row[2] for row in tables(root)[-1][1:]] == [path]


@pytest.mark.parametrize(
    "reason", ["<script>x</script>", "*so* `it` | ![is](http://x/)", "a\\b < c", "_so_ a __b__ &amp; other_rates"]
)
def test_what_a_cache_of_others_says_of_a_broken_clip_is_text(reason: str) -> None:
    _, root = page(excluded=[row | {"reason": reason} for row in excluded(1)])
    assert tables(root)[0][1][-1] == reason
    assert not list(root.iter("script")) + list(root.iter("img"))
    assert "<script>" not in html_page("<script>x</script>")


def test_broken_clips_are_counted_and_the_first_ones_shown() -> None:
    text, root = page(excluded=excluded(SHOWN + 3))
    assert f"**Without {SHOWN + 3} broken clips** ({SHOWN + 3} of split test)" in text
    assert tables(root)[0][1] == ["fan/id_00", "broken 0.wav", "test", "silent"]
    assert len(tables(root)[0]) == 1 + SHOWN
    assert "… and 3 more." in text
    assert "Without" not in page()[0]


def test_every_row_of_every_table_has_the_cells_of_its_head() -> None:
    unrated = {**NAMES, **COUNTS, "machine_id": "id_02", "status": "no training clips"}
    _, root = page(
        machines=[*MACHINES, unrated],
        clips=[clip("a.wav"), clip("b.wav", "normal")],
        decisions=[decision(0), decision(1)],
        excluded=excluded(2),
        unscored=[("fan/id_00", "off.wav")],
    )
    found = tables(root)
    assert len(found) == 8
    for table in found:
        assert {len(row) for row in table} == {len(table[0])}
        assert all(cell != "" for row in table for cell in row)
