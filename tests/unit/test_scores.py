from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from offnote.clips import Entry, Excluded
from offnote.errors import InputError
from offnote.scores import (
    Description,
    ScoreTable,
    description_of,
    quantile_name,
    read,
    read_description,
    statistics,
    write,
    write_description,
)

FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def table(values: list[float], start: list[float] | None = None) -> ScoreTable:
    clips = len(values)
    bounds = np.full(clips, np.nan) if start is None else np.array(start)
    return ScoreTable(
        path=np.array([f"fan/test/normal, {i:03}.wav" for i in range(clips)]),
        split=np.array((["train", "validation", "test", "supplemental"] * clips)[:clips]),
        start=bounds,
        end=bounds + 2.5,
        statistics={"mean": np.array(values), "q75": np.array(values) / 3},
    )


@given(st.lists(FLOATS, min_size=1, max_size=8))
def test_every_float_survives_the_file(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.mktemp("scores") / "trial_0.csv"
    written = table(values)
    write(path, written)
    back = read(path)
    assert back.clips() == written.clips()
    assert back.split.tolist() == written.split.tolist()
    for name, column in written.statistics.items():
        assert back.statistics[name].tobytes() == column.tobytes()


def test_slices_have_their_bounds_and_whole_files_have_no_such_columns(tmp_path: Path) -> None:
    write(tmp_path / "whole.csv", table([1.0, 2.0]))
    write(tmp_path / "sliced.csv", table([1.0, 2.0], start=[0.1, np.nan]))
    assert (tmp_path / "whole.csv").read_text().splitlines()[0] == "path,split,mean,q75"
    assert (tmp_path / "sliced.csv").read_text().splitlines()[0] == "path,split,start,end,mean,q75"
    assert read(tmp_path / "whole.csv").clips()[0] == ("fan/test/normal, 000.wav", None, None)
    assert [key[1:] for key in read(tmp_path / "sliced.csv").clips()] == [(0.1, 2.6), (None, None)]


def test_slices_of_one_file_are_different_clips(tmp_path: Path) -> None:
    same_file = table([1.0, 2.0], start=[0.0, 2.5])
    same_file.path[1] = same_file.path[0]
    write(tmp_path / "scores.csv", same_file)
    assert len(read(tmp_path / "scores.csv")) == 2


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        write(tmp_path / name, table([0.1, 1e-300]))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@given(
    st.lists(st.floats(0, 1e9), min_size=1, max_size=40),
    st.lists(st.floats(0, 1), max_size=4, unique_by=quantile_name),
)
def test_quantiles_are_numpys_to_the_last_bit(errors: list[float], quantiles: list[float]) -> None:
    found = statistics(np.array(errors), quantiles)
    assert [found["median"], *(found[quantile_name(q)] for q in quantiles)] == np.quantile(
        errors, [0.5, *quantiles]
    ).tolist()


@given(
    st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=50),
    st.lists(st.floats(0.01, 0.99), max_size=3, unique=True),
)
def test_statistics_against_a_plain_loop(errors: list[float], quantiles: list[float]) -> None:
    found = statistics(np.array(errors, dtype=np.float32), quantiles)
    ordered, count = sorted(errors), len(errors)

    def quantile(q: float) -> float:
        below = int(q * (count - 1))
        above = min(below + 1, count - 1)
        return ordered[below] + (ordered[above] - ordered[below]) * (q * (count - 1) - below)

    mean = sum(errors) / count
    expected = {
        "mean": mean,
        "median": quantile(0.5),
        "std": (sum((error - mean) ** 2 for error in errors) / count) ** 0.5,
        "max": ordered[-1],
        **{quantile_name(q): quantile(q) for q in quantiles},
    }
    assert list(found) == list(expected)
    assert list(found.values()) == pytest.approx(list(expected.values()), rel=1e-9, abs=1e-6)


def test_statistics_are_float64_whatever_the_errors_are() -> None:
    errors = np.full(3000, 0.1, dtype=np.float32)
    assert statistics(errors, [0.9])["mean"] == pytest.approx(float(np.float32(0.1)), rel=1e-15)


GOOD = [["path", "split", "mean"], ["a.wav", "train", "0.5"], ["b.wav", "test", "1.5"]]


@pytest.mark.parametrize(
    ("row", "column", "cell", "message"),
    [
        (0, 0, "file", "'path' is missing"),
        (0, 1, "part", "'split' is missing"),
        (0, 2, "start", "'end' is missing"),
        (1, 1, "training", "row 2: split 'training'"),
        (2, 2, "loud", "row 3: 'loud' in column 'mean'"),
        (2, 2, "nan", "row 3: 'nan'"),
        (1, 2, "inf", "row 2: 'inf'"),
        (1, 2, "", "row 2: ''"),
        (2, 0, "a.wav", "a.wav has two rows"),
    ],
)
def test_a_wrong_cell_is_named(tmp_path: Path, row: int, column: int, cell: str, message: str) -> None:
    path = tmp_path / "trial_0.csv"
    rows = [list(line) for line in GOOD]
    rows[row][column] = cell
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'path' is missing"),
        ("path,split,mean\n", "holds no clip"),
        ("path,split\na,train\n", "no column holds a score"),
        ("path,split,mean,mean\na,train,1,2\n", "same name"),
        ("path,split,mean\na,train,1\nb,te", "row 3: 2 cells"),
        ('path,split,mean\n"a,train,1\n', "not a CSV"),
    ],
)
def test_a_file_of_the_wrong_shape_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "trial_0.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read(path)


def test_bytes_that_are_no_text_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.csv").write_bytes(b"path,split,mean\n\xff\xfe,train,1\n")
    for name in ("noise.csv", "missing.csv"):
        with pytest.raises(InputError, match=name):
            read(tmp_path / name)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_not_finite_is_not_written(tmp_path: Path, value: float) -> None:
    with pytest.raises(InputError, match=r"clip fan/test/normal, 001.wav is not finite"):
        write(tmp_path / "trial_0.csv", table([1.0, value]))
    assert list(tmp_path.iterdir()) == []


def test_a_description_comes_back_and_tells_what_the_scores_were_made_from(tmp_path: Path) -> None:
    path = tmp_path / "trial_0.csv"
    assert read_description(path) == Description()
    write(path, table([1.0]))
    broken = [
        Excluded(Entry("long.wav", "train", "source", 0.0, 2.5), "silent"),
        Excluded(Entry("ü.wav", "train"), "cut"),
    ]
    write_description(path, status="no usable clips", excluded=broken, model="0af3", trial=1)
    described = read_description(path)
    assert (described.status, described.excluded) == ("no usable clips", broken)
    assert json.loads(description_of(path).read_text(encoding="utf-8"))["model"] == "0af3"
    assert len(read(path)) == 1
    write(path, table([2.0]))
    with pytest.raises(InputError, match=r"trial_0\.csv: not the scores"):
        read(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "version 2; this program reads version 1 of 'offnote-scores': score the machine again"),
        ({"format": "offnote-model"}, "of the format 'offnote-model'"),
        ({"excluded": [{"path": "a.wav"}]}, "it must tell which clips have no score"),
        ({"excluded": None}, "it must tell which clips have no score"),
    ],
)
def test_a_description_of_another_kind_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "trial_0.csv"
    write(path, table([1.0]))
    write_description(path)
    described = json.loads(description_of(path).read_text(encoding="utf-8"))
    description_of(path).write_text(json.dumps(described | changes), encoding="utf-8")
    for reader in (read, read_description):
        with pytest.raises(InputError, match=rf"trial_0\.json: .*{message}"):
            reader(path)
