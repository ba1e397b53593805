from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from offnote import cache, scores
from offnote.cache import CachedClip
from offnote.clips import Entry, Excluded
from offnote.config import BrokenClips, Window
from offnote.detectors import fit_scope, read_card
from offnote.errors import InputError
from offnote.scoring import CLIPS_PER_READ, score_machine

from tests.small import fit_small, small_cache, small_model, small_training

MELS, SIZE = 4, 3
SETTINGS = {"features": {"n_mels": MELS, "power": 2.0}}
ENTRIES = [
    Entry("test/a.wav", "test"),
    *(Entry(f"train/{i}.wav", "train") for i in range(CLIPS_PER_READ)),
    Entry("supplemental/s.wav", "supplemental"),
    Entry("test/long.wav", "test", start=0.0, end=2.0),
    Entry("test/long.wav", "test", start=2.0, end=4.0),
]


def made_cache(
    path: Path,
    entries: Sequence[Entry] = ENTRIES,
    settings: dict[str, Any] = SETTINGS,
    mels: int = MELS,
    frames: int = 10,
) -> Path:
    clips = [
        np.random.default_rng(list(str(entry).encode())).normal(size=(frames + len(entry.path) % 3, mels))
        for entry in entries
    ]
    return small_cache(path, clips, entries, settings)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    settings = {"model": small_model(initialisation="torch"), "training": small_training(epochs=1)}
    fit_small([made_cache(tmp_path / "fan" / "id_00.h5")], tmp_path / "model", **settings)
    return tmp_path / "model"


def score(features: Path, model: Path, output: Path, broken_clips: BrokenClips = "stop") -> scores.ScoreTable:
    score_machine(
        features,
        model,
        output,
        quantiles=[0.9],
        threads=1,
        device="cpu",
        require_gpu=False,
        broken_clips=broken_clips,
    )
    return scores.read(output)


def test_a_held_out_clip_is_that_of_its_machine_alone(tmp_path: Path) -> None:
    """Caches made elsewhere may name files in folders of their own, so two machines may have clips of one path."""
    caches = [made_cache(tmp_path / "fan" / f"{machine}.h5") for machine in ("id_00", "id_02")]
    fit_scope(
        caches,
        tmp_path / "model",
        window=Window(frames=SIZE),
        model=small_model(initialisation="torch"),
        training=small_training(epochs=1, validation=0.1),
        seed=0,
        trial=0,
        scope="fan/all",
        device="cpu",
        require_gpu=False,
    )
    unseen = read_card(tmp_path / "model").held_out
    assert len({clip.path for clip in unseen}) > len(unseen) / 2
    for path in caches:
        table = score(path, tmp_path / "model", tmp_path / f"{path.stem}.csv")
        of_machine = [clip.path for clip in unseen if clip.machine == f"fan/{path.stem}"]
        assert of_machine
        assert table.path[table.split == "validation"].tolist() == of_machine


def test_every_clip_is_scored_in_the_order_of_the_cache(tmp_path: Path, model: Path) -> None:
    table = score(tmp_path / "fan" / "id_00.h5", model, tmp_path / "scores.csv")
    assert table.clips() == [(entry.path, entry.start, entry.end) for entry in ENTRIES]
    assert list(table.statistics) == ["mean", "median", "std", "max", "q90"]
    held_out = {clip.path for clip in read_card(model).held_out}
    assert len(held_out) == round(0.2 * CLIPS_PER_READ)
    for entry, split in zip(ENTRIES, table.split, strict=True):
        assert split == ("validation" if entry.path in held_out else entry.split)


def test_scores_do_not_depend_on_the_other_clips_or_their_order(tmp_path: Path, model: Path) -> None:
    whole = score(tmp_path / "fan" / "id_00.h5", model, tmp_path / "scores.csv")
    some = [ENTRIES[place] for place in (35, 0, 20, 3)]
    part = score(made_cache(tmp_path / "fan" / "part.h5", some), model, tmp_path / "part.csv")
    row_of = {clip: row for row, clip in enumerate(whole.clips())}
    rows = [row_of[clip] for clip in part.clips()]
    for name, column in part.statistics.items():
        assert column.tobytes() == whole.statistics[name][rows].tobytes()


def test_reruns_write_the_same_bytes(tmp_path: Path, model: Path) -> None:
    for name in ("first", "second"):
        score(tmp_path / "fan" / "id_00.h5", model, tmp_path / f"{name}.csv")
    for suffix in (".csv", ".json"):
        assert (tmp_path / f"first{suffix}").read_bytes() == (tmp_path / f"second{suffix}").read_bytes()


def test_the_description_names_the_model_and_the_inputs(tmp_path: Path, model: Path) -> None:
    score(tmp_path / "fan" / "id_00.h5", model, tmp_path / "scores.csv")
    about = json.loads((tmp_path / "scores.json").read_text())
    assert about["model"] == read_card(model).weights_sha256
    assert about["inputs_sha256"] == cache.read(tmp_path / "fan" / "id_00.h5").inputs_sha256
    assert about["device"]["type"] == "cpu"
    assert "torch" in about["versions"]
    assert str(tmp_path) not in json.dumps(about)


def test_a_score_file_that_lost_rows_is_refused(tmp_path: Path, model: Path) -> None:
    score(tmp_path / "fan" / "id_00.h5", model, tmp_path / "scores.csv")
    rows = (tmp_path / "scores.csv").read_text().splitlines(keepends=True)
    (tmp_path / "scores.csv").write_text("".join(rows[:4]))
    with pytest.raises(InputError, match=r"scores\.csv: not the scores .* Delete the file, and run the same again"):
        scores.read(tmp_path / "scores.csv")


def test_a_clip_shorter_than_a_window_is_excluded_and_so_is_what_the_cache_lacks(tmp_path: Path, model: Path) -> None:
    whole = score(tmp_path / "fan" / "id_00.h5", model, tmp_path / "whole.csv")
    silent = Excluded(Entry("silent.wav", "test"), "silent")
    short = CachedClip(Entry("short.wav", "test"), "", 0, np.zeros((SIZE - 1, MELS), np.float32))
    with cache.read(tmp_path / "fan" / "id_00.h5") as found:
        clips = [CachedClip(entry, "", 0, found.clip(number)) for number, entry in enumerate(found.entries)]
    more = tmp_path / "fan" / "more.h5"
    cache.write(more, [clips[0], short, silent, *clips[1:]], SETTINGS, n_mels=MELS)
    table = score(more, model, tmp_path / "more.csv", "exclude")
    assert table.clips() == whole.clips()
    assert table.statistics["mean"].tobytes() == whole.statistics["mean"].tobytes()
    listed = scores.read_description(tmp_path / "more.csv").excluded
    assert [clip.entry.path for clip in listed] == ["silent.wav", "short.wav"]
    assert listed[1].reason.startswith("2 frames are less than one context window of 3")


def test_a_machine_of_excluded_clips_alone_has_an_empty_score_file_that_says_why(tmp_path: Path, model: Path) -> None:
    broken = [Excluded(Entry("silent.wav", "test"), "silent"), Excluded(Entry("cut.wav", "train"), "cut short")]
    cache.write(tmp_path / "fan" / "broken.h5", broken, SETTINGS, n_mels=MELS)
    score_machine(
        tmp_path / "fan" / "broken.h5",
        model,
        tmp_path / "scores.csv",
        quantiles=[0.9],
        threads=1,
        device="cpu",
        require_gpu=False,
        broken_clips="exclude",
    )
    assert (tmp_path / "scores.csv").read_text() == "path,split\n"
    described = scores.read_description(tmp_path / "scores.csv")
    assert (described.status, described.excluded) == ("no usable clips", broken)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"features": {"n_mels": MELS, "power": 1.0}}}, "features.power is 1.0 there and 2.0 here"),
        ({"mels": 5}, "5 mel bands, and the model of fan/id_00 has 4"),
        ({"entries": [Entry("test/abc.wav", "test")], "frames": 2}, r"clip test/abc.wav: 2 frames are less"),
    ],
)
def test_features_that_do_not_fit_the_model_are_refused(
    tmp_path: Path, model: Path, changes: dict[str, Any], message: str
) -> None:
    other = made_cache(tmp_path / "fan" / "other.h5", **changes)
    with pytest.raises(InputError, match=message):
        score(other, model, tmp_path / "scores.csv")
    assert not (tmp_path / "scores.csv").exists()
