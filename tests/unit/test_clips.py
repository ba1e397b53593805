"""The table of clips."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from offnote.clips import DOMAINS, SPLITS, Clip, read_clips, write_clips
from offnote.errors import InputError

HEADER = "path\tmachine_type\tmachine_id\tsplit\tlabel\n"


def refusal(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as raised:
        read_clips(path)
    assert str(path) in str(raised.value)
    return str(raised.value)


def test_rows_become_clips_in_a_fixed_order(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.tsv"
    rows = ["b.wav\tfan\tid_00\ttest\tAbnormal", "ä b.wav\tfan\tid_00\ttrain\tnormal", "a.wav\tfan\tid_00\ttest\t"]
    sheet.write_text("\ufeff" + HEADER + "\n".join(rows) + "\n", encoding="utf-8")
    clips = read_clips(sheet)
    assert [clip.path for clip in clips] == ["ä b.wav", "a.wav", "b.wav"]
    assert [clip.label for clip in clips] == ["normal", "", "anomaly"]


def test_no_test_domain_is_known_before_evaluate() -> None:
    train, test = (Clip("a.wav", "fan", "id_00", split, "normal", domain="target") for split in ("train", "test"))
    assert train.unlabelled_row == ["a.wav", "train", "target", None, None]
    assert test.unlabelled_row == ["a.wav", "test", "", None, None]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path\tmachine_type\tsplit\n", "the column 'machine_id' is missing"),
        ("path,machine_type,machine_id,split\n", "separated by tabs, not commas"),
        ("path;machine_type;machine_id;split\n", "separated by tabs, not semicolons"),
        (HEADER.replace("label", "labl"), "unknown column 'labl'; did you mean 'label'?"),
        (HEADER, "has no rows"),
        ("", "is missing"),
        (HEADER + "a.wav\tfan\tid_00\n", "line 2: has another number of columns"),
        (HEADER + "a.wav\tfan\tid_00\ttrain\tnormal\tmore\n", "line 2: has another number of columns"),
        (HEADER + "\tfan\tid_00\ttrain\tnormal\n", "line 2: the path is empty"),
        (HEADER + "a.wav\tmy fan\tid_00\ttrain\tnormal\n", "line 2, machine_type: 'my fan'"),
        (HEADER + "a.wav\tfan\tall\ttrain\tnormal\n", "line 2, machine_id: 'all'"),
        (HEADER + "a.wav\tfan\tid_00\tvalid\tnormal\n", "line 2, split: 'valid' is none of train, test, supplemental"),
        (HEADER + "a.wav\tfan\tid_00\ttest\tbroken\n", "line 2, label: 'broken'"),
        (HEADER[:-1] + "\tdomain\na.wav\tfan\tid_00\ttest\t\ttraget\n", "domain: 'traget' is none of empty, source"),
        (HEADER + "a.wav\tfan\tid_00\ttrain\tanomaly\n", "line 2: a training clip is labelled anomaly"),
        (HEADER + 2 * "a.wav\tfan\tid_00\ttrain\tnormal\n", "the clip a.wav is listed twice"),
        (
            f"{HEADER[:-1]}\tstart\tend\na.wav\tfan\tid_00\ttest\tnormal\t\t\na.wav\tfan\tid_00\ttest\tanomaly\t2\t4\n",
            "a.wav is listed whole, and a stretch of it too; list its stretches alone",
        ),
        (f"{HEADER[:-1]}\tstart\tend\na.wav\tfan\tid_00\ttest\tnormal\t0\t1_0\n", "end: '1_0' is not a time"),
        (HEADER + "a.wav\tfan\tid_00\ttrain\tnormal\n./a.wav\tfan\tid_00\ttest\tnormal\n", "a.wav is listed twice"),
        (
            HEADER[:-1] + "\tstart\tend\n" + "a.wav\tfan\tid_00\ttrain\t\t0\t20\na.wav\tfan\tid_00\ttest\t\t10\t30\n",
            "a.wav: a stretch for train and one for test overlap",
        ),
        (HEADER[:-1] + "\tstart\na.wav\tfan\tid_00\ttrain\tnormal\tsoon\n", "line 2, start: 'soon' is not a time"),
        (HEADER[:-1] + "\tend\na.wav\tfan\tid_00\ttrain\tnormal\t3\n", "line 2: a slice needs both start and end"),
        (HEADER[:-1] + "\tstart\tend\na.wav\tfan\tid_00\ttrain\tnormal\t3\t3\n", "line 2: the slice ends at 3 s"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, sentence: str) -> None:
    assert sentence in refusal(tmp_path / "sheet.tsv", text)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.tsv"
    sheet.write_bytes(b"path\tmachine_type\xff\xfe")
    with pytest.raises(InputError, match="tab-separated UTF-8 text"):
        read_clips(sheet)


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True).filter(
    lambda name: name not in ("all", "cache")
)
texts = st.text("abä'\"#,;/.=日", min_size=1, max_size=8)


@given(
    st.lists(
        st.builds(
            Clip,
            path=texts.map(posixpath.normpath),
            machine_type=names,
            machine_id=names,
            split=st.sampled_from(SPLITS),
            label=st.sampled_from(["", "normal"]),
            start=st.none(),
            domain=st.sampled_from(DOMAINS),
            attributes=texts,
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda clip: clip.path,
    )
)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, clips: list[Clip]) -> None:
    path = tmp_path_factory.mktemp("clips") / "clips.tsv"
    clips = [replace(clip, start=n + 0.1 + 0.2, end=n + 0.9) for clip in clips for n in range(2)]
    write_clips(path, clips)
    assert read_clips(path) == sorted(clips, key=lambda clip: clip.order)
