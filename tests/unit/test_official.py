"""The official figures: against published results, against scikit-learn, and against plain loops."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offnote.challenge import OfficialScore, load_challenge
from offnote.errors import InputError
from offnote.official import evaluate, f1_ev, means, official_score, report, write_tables
from offnote.score_folders import read_folder
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from tests.score_folders import edit, make_labelled, make_unlabelled, sections_of
from tests.years import YEARS

EPSILON = 2.0**-52
near = partial(pytest.approx, rel=0.0, abs=1e-12)
KINDS = ("arithmetic_mean", "harmonic_mean")
Published = tuple[str, str, str, str, float]


def published(path: Path) -> Iterator[Published]:
    """Yield every figure of a published result.csv: machine type, section or mean, domain, figure, value."""
    machine_type, header = "", [""]
    for row in csv.reader(path.read_text(encoding="utf-8").splitlines()):
        if len(row) == 1:
            machine_type = row[0]
        elif row and (row[0] in ("section", "id") or row[0] == ""):
            machine_type, header = ("" if row[0] == "" else machine_type), row
        elif row:
            texts = 2 if "domain" in header or header[:2] == ["", ""] else 1
            for title, value in zip(header[texts:], row[texts:], strict=True):
                figure = title.lower().replace("(", "").replace(")", "").replace(" ", "_")
                yield machine_type, row[0], row[1] if texts == 2 else "", figure, float(value)


def ours(found: dict[str, Any], machine_type: str, row: str, domain: str, figure: str) -> float:
    """Look a published figure up in our JSON."""
    if row.isdigit():
        [section] = [
            s
            for s in found["sections"]
            if (s["machine_type"], s["section"], s.get("domain", "")) == (machine_type, row, domain)
        ]
        return float(section[figure])
    kind = "harmonic_mean" if row.startswith("harmonic") else "arithmetic_mean"
    if "over all" in row:
        return float(found["overall"][kind][figure])
    [means_of_type] = [each for each in found["types"] if each["machine_type"] == machine_type]
    return float(means_of_type[kind][figure])


@pytest.mark.parametrize(("year", "figures"), [(2020, 10), (2021, 290), (2022, 333)])
def test_published_results_come_out_to_the_last_digits(shared_data: Path, year: int, figures: int) -> None:
    folder = shared_data / "published_scores" / f"dcase{year}_ae"
    found = json.loads(json.dumps(evaluate(folder, year).as_json()))
    stated = list(published(folder / "result.csv"))
    assert len(stated) == figures
    for *place, value in stated:
        assert ours(found, *place) == pytest.approx(value, rel=1e-9, abs=1e-9), place


@pytest.mark.parametrize(("year", "of"), [(2021, ("auc", "pauc")), (2022, ("auc_source", "auc_target", "pauc"))])
def test_the_official_score_of_published_results(shared_data: Path, year: int, of: tuple[str, ...]) -> None:
    folder = shared_data / "published_scores" / f"dcase{year}_ae"
    values = [value for _, row, _, figure, value in published(folder / "result.csv") if row.isdigit() and figure in of]
    expected = statistics.harmonic_mean(values)
    assert evaluate(folder, year).official_score == pytest.approx(expected, abs=1e-12)


def test_the_official_score_that_the_evaluator_of_2024_published_for_the_baseline() -> None:
    """The figures stand in the evaluator's own README, for the autoencoder with the mean squared error."""
    source = [0.7912, 0.65, 0.6916, 0.7658, 0.8602, 0.6224, 0.7504, 0.6596, 0.707]
    target = [0.4796, 0.4824, 0.5374, 0.5266, 0.4388, 0.4598, 0.6948, 0.4152, 0.6352]
    areas = [
        *(0.4942105263157895, 0.5547368421052632, 0.5010526315789474, 0.5, 0.5021052631578947),
        *(0.5163157894736842, 0.5273684210526316, 0.511578947368421, 0.5557894736842105),
    ]
    rows = [{"auc_source": a, "auc_target": b, "pauc": c} for a, b, c in zip(source, target, areas, strict=True)]
    recipe = load_challenge(2024).official_score
    assert recipe is not None
    assert official_score(rows, recipe) == pytest.approx(0.5650830191796572, abs=1e-12)
    assert means(rows, ["auc_target"])["harmonic_mean"]["auc_target"] == pytest.approx(0.5057977147441246, abs=1e-12)


@pytest.mark.parametrize("year", YEARS)
def test_figures_are_those_of_scikit_learn(tmp_path: Path, year: int) -> None:
    """Recompute every figure from the files and names alone, clip by clip."""
    make_labelled(tmp_path, year)
    challenge = load_challenge(year)
    found = {(r["machine_type"], r["section"], r.get("domain", "")): r for r in evaluate(tmp_path, year).sections}
    for section in sections_of(year):
        row = found[section.machine_type, section.number, section.domain]
        scores = read(tmp_path / challenge.name(challenge.scores, section))
        labels = {clip: "anomaly" in clip for clip in scores}

        def area(clips: list[str], scores: dict[str, float] = scores, **further: float) -> float:
            return float(roc_auc_score([("anomaly" in clip) for clip in clips], [scores[c] for c in clips], **further))

        if year != 2022:
            assert row["auc_all" if year > 2022 else "auc"] == near(area(list(scores)))
        assert row["pauc"] == near(area(list(scores), max_fpr=0.1))
        if year == 2020:
            assert set(row) == {"machine_type", "section", "auc", "pauc"}
            continue
        decisions = read(tmp_path / challenge.name(challenge.decisions, section))
        for domain in ("source", "target") if year > 2021 else ("",):
            ending = f"_{domain}" if domain else ""
            clips = [clip for clip in scores if domain in clip]
            true, called = [labels[clip] for clip in clips], [decisions[clip] for clip in clips]
            assert row[f"precision{ending}"] == near(precision_score(true, called, zero_division=0.0))
            assert row[f"recall{ending}"] == near(recall_score(true, called))
            assert row[f"f1_score{ending}"] == near(f1_score(true, called))
            if year > 2021:
                assert row[f"auc_{domain}"] == near(area([clip for clip in scores if domain in clip or labels[clip]]))
            if year > 2022:
                assert row[f"pauc_{domain}"] == near(area(clips, max_fpr=0.1))


def read(path: Path) -> dict[str, float]:
    return {clip: float(value) for clip, value in csv.reader(path.read_text(encoding="utf-8").splitlines())}


@pytest.mark.parametrize("year", YEARS)
def test_means_are_plain_ones(tmp_path: Path, year: int) -> None:
    found = evaluate(make_labelled(tmp_path, year), year)
    for place in (*found.types, found.overall):
        rows = [row for row in found.sections if place.get("machine_type") in (None, row["machine_type"])]
        for figure in found.figures:
            values = [row[figure] for row in rows]
            assert place["arithmetic_mean"][figure] == pytest.approx(math.fsum(values) / len(values))
            harmonic = statistics.harmonic_mean([max(value, EPSILON) for value in values])
            assert place["harmonic_mean"][figure] == pytest.approx(harmonic, rel=1e-12)


def test_the_recipes_of_the_official_scores() -> None:
    recipes = {year: load_challenge(year).official_score for year in YEARS}
    assert recipes.pop(2020) is None
    assert recipes.pop(2021) == OfficialScore(mean="harmonic", of=("auc", "pauc"))
    assert set(recipes.values()) == {OfficialScore(mean="harmonic", of=("auc_source", "auc_target", "pauc"))}


def test_an_arithmetic_official_score() -> None:
    assert official_score([{"auc": 0.5}, {"auc": 1.0}], OfficialScore(mean="arithmetic", of=("auc",))) == 0.75


@pytest.mark.parametrize("year", YEARS)
def test_without_decisions_their_figures_are_left_out(tmp_path: Path, year: int) -> None:
    full = evaluate(make_labelled(tmp_path, year), year)
    for path in tmp_path.glob("decision_result_*"):
        path.unlink()
    bare = evaluate(tmp_path, year)
    assert full.official_score == bare.official_score
    assert [name for name in full.figures if not name.startswith(("precision", "recall", "f1_score"))] == bare.figures
    said = "nothing tells whether clips are missing"
    assert [said in "\n".join(report("system", judged)) for judged in (full, bare)] == [year == 2020, True]


@pytest.mark.parametrize("others_are_there", [True, False])
def test_machine_types_that_the_year_does_not_have_are_named(tmp_path: Path, others_are_there: bool) -> None:
    part = evaluate(make_labelled(tmp_path, 2022), 2022)
    assert (part.unknown_types, part.complete) == ([], False)
    for path in list(tmp_path.iterdir()):
        if "_fan_" in path.name:
            (tmp_path / path.name.replace("fan", "Fans")).write_bytes(path.read_bytes())
        if not others_are_there:
            path.unlink()
    found = evaluate(tmp_path, 2022)
    assert (found.unknown_types, found.complete, found.absent == []) == (["Fans"], False, not others_are_there)
    text = "\n".join(report("mine", found))
    assert "**Machine types that 2022 does not have**, and that are in all means: Fans." in text
    assert "**Official score" not in text


def test_2020_has_no_official_score(tmp_path: Path) -> None:
    found = evaluate(make_labelled(tmp_path, 2020), 2020)
    assert found.official_score is None
    assert json.loads(json.dumps(found.as_json()))["official_score"] is None
    assert len(found.absent) == 23 - 8


@pytest.mark.parametrize("year", YEARS)
def test_ground_truth_gives_figures(tmp_path: Path, year: int) -> None:
    system, truth = make_unlabelled(tmp_path, year)
    found = evaluate(system, year, truth)
    assert found.clips == {"normal": 10 * len(found.sections), "anomaly": 10 * len(found.sections)}
    if year == 2022:
        # Scores 0 to 19, odd ones anomalous, from 10 on in the target domain.
        for domain, normals in (("source", range(0, 10, 2)), ("target", range(10, 20, 2))):
            wins = [anomaly > normal for anomaly in range(1, 20, 2) for normal in normals]
            assert found.sections[0][f"auc_{domain}"] == near(sum(wins) / len(wins))


@pytest.mark.parametrize(("kept", "absent"), [("normal", "anomalous"), ("anomaly", "normal")])
def test_a_section_of_one_class_is_named(tmp_path: Path, kept: str, absent: str) -> None:
    make_labelled(tmp_path, 2023, decisions=False)
    edit(tmp_path / "anomaly_score_fan_section_00_test.csv", lambda lines: [line for line in lines if kept in line])
    with pytest.raises(InputError, match=rf"fan_section_00_test\.csv: auc_all cannot be .* there is no {absent} clip"):
        evaluate(tmp_path, 2023)


def test_a_section_without_a_domain_is_named(tmp_path: Path) -> None:
    make_labelled(tmp_path, 2022, decisions=False)
    edit(tmp_path / "anomaly_score_fan_section_00_test.csv", lambda lines: [line for line in lines if "source" in line])
    with pytest.raises(InputError, match=r"fan_section_00_test\.csv: auc_target cannot be computed"):
        evaluate(tmp_path, 2022)


labelled = st.lists(st.tuples(st.booleans(), st.integers(-20, 20)), min_size=2, max_size=30).filter(
    lambda clips: len({label for label, _ in clips}) == 2
)


def plain_f1_ev(clips: list[tuple[bool, int]]) -> float:
    """Average F1 over thresholds in the middle of every stretch between two scores, weighted by its length."""
    levels = sorted({score for _, score in clips})
    total = 0.0
    for low, high in pairwise(levels):
        called = [score > (low + high) / 2 for _, score in clips]
        total += (high - low) * f1_score([label for label, _ in clips], called)
    return total / (levels[-1] - levels[0]) if len(levels) > 1 else 0.0


@given(labelled)
def test_f1_ev_is_the_mean_f1_over_all_thresholds(clips: list[tuple[bool, int]]) -> None:
    labels, scores = (np.array(column) for column in zip(*clips, strict=True))
    found = f1_ev(labels, scores.astype(float))
    assert found == pytest.approx(plain_f1_ev(clips), abs=1e-12)
    assert found == pytest.approx(f1_ev(labels, 3.0 * scores - 7.0), abs=1e-12)
    order = np.argsort(scores)
    assert found == f1_ev(labels[order], scores[order].astype(float))


@settings(deadline=None)
@given(st.permutations(range(3)))
def test_the_order_of_rows_changes_no_figure(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    folder = make_labelled(tmp_path_factory.mktemp("scores"), 2021)
    before = evaluate(folder, 2021)
    for path in folder.iterdir():
        edit(path, lambda lines: [line for part in order for line in lines[part::3]])
    assert evaluate(folder, 2021) == before


def test_the_report_shows_every_section_and_both_means(tmp_path: Path) -> None:
    found = evaluate(make_labelled(tmp_path, 2022), 2022)
    text = "\n".join(report("mine", found))
    assert text.startswith("# mine, as DCASE 2022 Task 2 evaluates\n")
    assert "2 machine types, 6 score files, 60 normal and 60 anomalous clips." in text
    assert found.official_score is not None
    score = f"{100 * found.official_score:.2f}"
    assert f"Score of a part: {score}, the harmonic mean of AUC source, AUC target and pAUC over 6 of 21 score" in text
    whole = "\n".join(report("mine", replace(found, absent=[], unknown_types=[])))
    assert f"**Official score: {score}**, the harmonic mean of AUC source, AUC target and pAUC over all score" in whole
    assert "not there" not in whole
    unsure = "\n".join(report("mine", replace(found, absent=[], unknown_types=[], clips_compared=False)))
    assert f"Score, the official one if no clip is missing: {score}, the harmonic mean" in unsure
    types = "ToyTrain (3), bearing (3), gearbox (3), slider (3), valve (3)"
    assert f"**Score files of the set that are not there**, and so in no mean: {types}." in text
    for title in ("AUC source", "F1-EV", "F1 score target"):
        assert f" {title} |" in text
    lines = [line for line in text.splitlines() if line.startswith("| fan")]
    assert len(lines) == 2 * (3 + 2) + 3
    first = [cell.strip() for cell in lines[0].split("|")[1:-1]]
    row = next(row for row in found.sections if row["machine_type"] == "fan")
    assert first[:3] == ["fan", "00", f"{100 * row['auc_source']:.2f}"]
    alarms = {row["domain"]: row["rate"] for row in found.false_alarms if row["machine_type"] == "fan"}
    assert set(alarms) == {"source", "target"}
    assert "| machine type | section | source | target |" in text.split("## False alarms")[1]


def test_false_alarms_are_the_share_of_the_normal_clips_of_a_domain(tmp_path: Path) -> None:
    found = evaluate(make_labelled(tmp_path, 2022), 2022)
    labelled = read_folder(tmp_path, load_challenge(2022))
    by_hand: dict[tuple[str, str, str], list[bool]] = {}
    for part in labelled:
        assert part.decisions is not None
        for anomalous, domain, decision in zip(part.anomalous, part.domains, part.decisions, strict=True):
            key = (part.section.machine_type, part.section.number, domain)
            if not anomalous:
                by_hand.setdefault(key, []).append(decision)
    rates = {(row["machine_type"], row["section"], row["domain"]): row["rate"] for row in found.false_alarms}
    assert rates == {key: pytest.approx(sum(rows) / len(rows)) for key, rows in by_hand.items()}
    assert {row["normal_clips"] for row in found.false_alarms} == {len(rows) for rows in by_hand.values()}
    assert len(set(rates.values())) > 1


def test_a_single_section_needs_no_means_of_its_own(tmp_path: Path) -> None:
    text = "\n".join(report("mine", evaluate(make_labelled(tmp_path, 2025, decisions=False), 2025)))
    assert "## Decisions" not in text
    assert [line[:10] for line in text.splitlines() if "arithmetic mean" in line] == ["| all     "]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("year", YEARS)
def test_written_tables_hold_the_same_figures(tmp_path: Path, year: int) -> None:
    found = evaluate(make_labelled(tmp_path / "system", year), year)
    written = write_tables(tmp_path / "new" / "tables", "mine", found)
    assert [path.name for path in written] == ["sections.csv", "means.csv", "evaluation.json", "evaluation.md"]
    for row, section in zip(rows_of(written[0]), found.sections, strict=True):
        assert {key: type(section[key])(text) for key, text in row.items()} == section
    spread = rows_of(written[1])
    assert len(spread) == 2 * (len(found.types) + 1)
    for kind, row in zip(KINDS, spread[-2:], strict=True):
        assert (row["machine_type"], row["mean"] + "_mean") == ("all", kind)
        assert {name: float(row[name]) for name in found.figures} == found.overall[kind]
    assert json.loads(written[2].read_text()) == found.as_json()
    assert written[3].read_text().splitlines() == list(report("mine", found))
