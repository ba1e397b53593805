"""What there is to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from offnote import cache
from offnote.batches import Batch, in_batches
from offnote.cache import CachedClip
from offnote.challenge import load_challenge
from offnote.clips import Entry, Excluded, Machine
from offnote.errors import InputError
from offnote.plan import Run, plan, plan_rehearsals
from offnote.recordings import Listing

from tests.small import noise, small_cache

HEADER = "path\tmachine_type\tmachine_id\tsplit\tlabel\n"


def sheet(folder: Path, *rows: str) -> dict[str, Any]:
    """Write a sheet with rows such as 'fan id_00 train normal', one clip each, and return its dataset section."""
    lines = []
    for number, row in enumerate(rows):
        (folder / f"{number}.wav").touch()
        lines.append("\t".join([f"{number}.wav", *row.split(" ")]))
    (folder / "sheet.tsv").write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    return {"name": "mine", "path": str(folder / "sheet.tsv")}


ROWS = ("fan id_00 train normal", "fan id_02 test normal", "pump id_00 train normal", "valve id_00 test anomaly")
FAN_0, FAN_2, PUMP, VALVE = (Machine(*row.split(" ")[:2]) for row in ROWS)


def test_one_scope_per_machine(tmp_path: Path) -> None:
    run = plan({"dataset": sheet(tmp_path, *ROWS)})["demo"]
    assert run.machines == [FAN_0, FAN_2, PUMP, VALVE]
    assert run.scopes == {FAN_0: [FAN_0], PUMP: [PUMP]}
    assert run.scored_machines == [FAN_0, PUMP]
    assert run.status(VALVE) == "no training clips"
    assert run.status(FAN_0) == ""


def test_one_scope_per_type_scores_its_machines_without_training_clips(tmp_path: Path) -> None:
    run = plan({"dataset": sheet(tmp_path, *ROWS), "model": {"scope": "type"}})["demo"]
    assert run.scopes == {Machine("fan", "all"): [FAN_0, FAN_2], Machine("pump", "all"): [PUMP]}
    assert run.training_machines(Machine("fan", "all")) == [FAN_0]
    assert run.scored_machines == [FAN_0, FAN_2, PUMP]


def test_one_scope_for_the_set(tmp_path: Path) -> None:
    run = plan({"dataset": sheet(tmp_path, *ROWS), "model": {"scope": "set"}})["demo"]
    assert run.scopes == {Machine("all", "all"): [FAN_0, FAN_2, PUMP, VALVE]}


def test_some_machines_only(tmp_path: Path) -> None:
    dataset = sheet(tmp_path, *ROWS)
    assert plan({"dataset": {**dataset, "machines": ["fan"]}})["demo"].machines == [FAN_0, FAN_2]
    assert plan({"dataset": {**dataset, "machines": ["*/id_00"]}})["demo"].machines == [FAN_0, PUMP, VALVE]
    with pytest.raises(InputError, match=r"dataset\.machines: 'fam' is none of fan/id_00"):
        plan({"dataset": {**dataset, "machines": ["fam"]}})


@pytest.mark.parametrize(
    ("patterns", "machines"),
    [
        (["!fan/id_02"], [FAN_0, PUMP, VALVE]),
        (["!fan", "!valve"], [PUMP]),
        (["fan", "pump", "!*/id_02"], [FAN_0, PUMP]),
        (["!fan/id_02", "fan"], [FAN_0]),
        (["!valve", "*/id_00"], [FAN_0, PUMP]),
    ],
)
def test_all_but_some_machines(tmp_path: Path, patterns: list[str], machines: list[Machine]) -> None:
    assert plan({"dataset": {**sheet(tmp_path, *ROWS), "machines": patterns}})["demo"].machines == machines


@pytest.mark.parametrize(
    ("patterns", "sentence"),
    [
        (["!fan/id_04"], r"'!fan/id_04' is none of fan/id_00, fan/id_02, pump/id_00, valve/id_00"),
        (["fan", "!"], r"'!' is none of fan/id_00"),
        (["fan", "!fan"], r"fan, !fan leave no machine; take out what starts with '!'"),
        (["!*"], r"!\* leave no machine"),
    ],
)
def test_leaving_out_no_machine_or_every_one_is_refused(tmp_path: Path, patterns: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=rf"dataset\.machines: {sentence}"):
        plan({"dataset": {**sheet(tmp_path, *ROWS), "machines": patterns}})


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no machine has training clips"):
        plan({"dataset": sheet(tmp_path, "fan id_00 test normal")})


def test_feature_key_names_every_setting_that_matters_and_no_other() -> None:
    key = plan({})["demo"].feature_key
    assert len(key) == 12
    for same in ({"training": {"epochs": 3}}, {"device": "cpu"}, {"seed": 3}, {"window": {"frames": 3}}):
        assert plan(same)["demo"].feature_key == key
    others: list[dict[str, Any]] = [
        {"features": {"power": 1.0}},
        {"features": {"dtype": "float16"}},
        {"audio": {"channel": 1}},
        {"audio": {"channel": "mean"}},
        {"slice": {"length": 5.0}},
        {"slice": {"length": 5.0}, "gate": {"level": -50.0}},
    ]
    assert len({plan(other)["demo"].feature_key for other in others} | {key}) == len(others) + 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"demo": {"train": 3, "seed": 1}},
            "demo.train and demo.seed must be the same in all runs: state this outside `",
        ),
        ({"jobs": {"machines": 3}}, "jobs.machines must be the same in all runs: state this outside `runs`"),
        (
            {"dataset": {"name": "demo", "layout": "mimii"}},
            "dataset.layout must be the same in all runs of the dataset 'demo', which share its feature caches: "
            "state this outside `runs`",
        ),
        (
            {"dataset": {"broken_clips": "exclude"}},
            "dataset.broken_clips must be the same in all runs of the dataset 'demo', which share its feature caches: "
            "state this outside `runs`",
        ),
    ],
)
def test_what_runs_share(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        plan({"runs": {"b": changes}})
    assert f"run b: {sentence}" in str(raised.value)
    assert "dataset.name" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "keys"),
    [
        ({"broken_clips": "exclude"}, "dataset.broken_clips"),
        ({"path": "other.tsv", "layout": "mimii", "machines": ["fan"]}, "dataset.path and dataset.layout"),
        ({"features": "caches"}, "dataset.features"),
    ],
)
def test_what_runs_of_a_dataset_share(tmp_path: Path, changes: dict[str, Any], keys: str) -> None:
    with pytest.raises(InputError) as raised:
        plan({"dataset": sheet(tmp_path, *ROWS), "runs": {"b": {"dataset": changes}}})
    assert str(raised.value) == (
        f"run b: {keys} must be the same in all runs of the dataset 'mine', which share its feature caches: "
        "state this outside `runs`, or give this run a dataset.name of its own"
    )


def test_runs_may_differ_in_broken_clips_under_two_names_of_the_dataset(tmp_path: Path) -> None:
    own = {"name": "again", "broken_clips": "exclude"}
    runs = plan({"dataset": sheet(tmp_path, *ROWS), "runs": {"b": {"dataset": own}}})
    assert [run.settings.dataset.broken_clips for run in runs.values()] == ["stop", "exclude"]


def test_an_unknown_aggregator_is_found_before_any_job() -> None:
    with pytest.raises(
        InputError, match=r"evaluate\.aggregator: 'q95' is none of mean, median, std, max, q75, q90, q99"
    ):
        plan({"evaluate": {"aggregator": "q95"}})
    assert plan({"evaluate": {"aggregator": "q95"}, "scores": {"quantiles": [0.95]}})


@pytest.mark.parametrize("name", ["a{b}", "a<b>"])
def test_brackets_that_snakemake_reads_are_refused(name: str) -> None:
    stored = Listing(Path("stored"), {f"{name}/fan/train/normal_id_00_00000000.wav": (1, "tag")})
    with pytest.raises(InputError, match="Snakemake takes what is between"):
        plan({"dataset": {"name": "odd", "path": "s3://recordings", "layout": "dcase2020"}}, lambda _: stored)


def year_2020(folder: Path, **changes: Any) -> list[Run]:
    dataset = sheet(folder, "fan id_00 train normal", "fan id_00 test anomaly")
    return list(plan({"dataset": dataset, "submission": {"year": 2020}} | changes).values())


def test_a_rehearsal_is_another_run_whose_clips_are_those_of_its_own(tmp_path: Path) -> None:
    runs = year_2020(tmp_path)
    [(name, rehearsal)] = plan_rehearsals(runs, asked=True).items()
    assert (name, rehearsal.settings.run, rehearsal.settings.dataset.name) == (
        "demo",
        "demo/rehearsal",
        "mine.rehearsal",
    )
    assert set(rehearsal.recordings.clips) == {
        Machine(machine_type, machine_id)
        for machine_type, ids in load_challenge(2020).machines["evaluation"].items()
        for machine_id in ids
    }
    assert set(rehearsal.recordings.elsewhere.values()) == {str(tmp_path / "0.wav"), str(tmp_path / "1.wav")}
    assert {clip.label for clips in rehearsal.recordings.clips.values() for clip in clips} == {"normal", ""}


def test_what_stands_in_the_way_of_a_rehearsal_is_said_to_who_asks_for_it(tmp_path: Path) -> None:
    (tmp_path / "slices").mkdir()
    (tmp_path / "slices/0.wav").touch()
    rows = "path\tmachine_type\tmachine_id\tsplit\tstart\tend\n0.wav\tfan\tid_00\ttrain\t0\t5\n"
    (tmp_path / "slices/sheet.tsv").write_text(rows)
    sliced = year_2020(tmp_path, dataset={"name": "cut", "path": str(tmp_path / "slices/sheet.tsv")})
    # Written over the sheet of slices, which is read.
    others = year_2020(tmp_path, dataset=sheet(tmp_path / "slices", "robot id_00 train normal"))
    none = year_2020(tmp_path, submission={})
    for runs, sentence in (
        (sliced, "run demo: has slices of recordings as clips; a rehearsal needs whole ones"),
        (others, "run demo: has no machine of the development set of 2020; see dataset.path"),
        (none, "run demo: there is nothing to rehearse for; set submission.year"),
    ):
        assert plan_rehearsals(runs, asked=False) == {}
        with pytest.raises(InputError, match=sentence):
            plan_rehearsals(runs, asked=True)


def test_a_batch_of_one_stands_for_all_by_its_wildcards() -> None:
    [batch] = in_batches("score", [({"run": "a"}, [FAN_0, PUMP])], 1)
    assert batch.name == "score"
    assert batch.all("{run}/{machine_type}/{machine_id}") == ["{run}/{machine_type}/{machine_id}"]
    wildcards = {"run": "a", "machine_type": "fan", "machine_id": "id_00"}
    assert batch.each(lambda known, machine: f"{known['run']} {machine}")(wildcards) == ["a fan/id_00"]


def test_batches_cover_every_member_once() -> None:
    groups = [({"run": "a"}, [FAN_0, FAN_2, PUMP]), ({"run": "b"}, [FAN_0])]
    made = in_batches("score", groups, 2)
    assert [batch.name for batch in made] == ["score_0_0", "score_0_1", "score_1_0"]
    assert [path for batch in made for path in batch.all("{run}/{machine_type}/{machine_id}/{trial}")] == [
        "a/fan/id_00/{trial}",
        "a/fan/id_02/{trial}",
        "a/pump/id_00/{trial}",
        "b/fan/id_00/{trial}",
    ]
    assert made[0].together(lambda known, machine: [known["run"], str(machine)])({}) == [
        "a",
        "fan/id_00",
        "a",
        "fan/id_02",
    ]
    assert made[0].one("logs/{run}/{machine_type}/{machine_id}") == "logs/a/batch/score_0_0"
    assert Batch("x", {}).title == "{wildcards.machine_type}/{wildcards.machine_id}"


def test_the_home_folder_may_be_written_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match=f"dataset.features: {tmp_path}/caches holds no caches"):
        plan({"dataset": {"name": "elsewhere", "features": "~/caches"}})


def test_every_run_wants_its_own_settings_of_caches_made_elsewhere(tmp_path: Path) -> None:
    entries = [Entry(f"{split}.wav", split) for split in ("train", "test")]
    for machine in ("id_00", "id_02"):
        path = tmp_path / "fan" / f"{machine}.h5"
        small_cache(path, noise([9, 9], mels=4), entries, {"audio": {"sample_rate": 16000}})
    config = {"dataset": {"name": "fans", "features": str(tmp_path)}, "features": {"n_mels": 4}}
    assert list(plan(config | {"runs": {"other_seed": {"seed": 1}}})) == ["demo", "other_seed"]
    with pytest.raises(InputError, match=r"id_00\.h5: made with other settings: audio.sample_rate is 16000 there and"):
        plan(config | {"runs": {"other_rate": {"audio": {"sample_rate": 8000}}}})


@pytest.mark.parametrize("name", ["\x1b[31mred.wav", 'a\n"b".wav', "a\\b.wav"])
@pytest.mark.parametrize("broken", [False, True])
def test_a_name_in_a_cache_that_cannot_stand_in_a_table_is_shown_safely(
    tmp_path: Path, name: str, broken: bool
) -> None:
    clips: list[CachedClip | Excluded] = [
        CachedClip(Entry(path, "train"), "0" * 64, 512, frames)
        for path, frames in zip(["good.wav", "a.wav" if broken else name], noise([9, 9], mels=4), strict=True)
    ]
    if broken:
        clips.append(Excluded(Entry(name, "test"), "silent\x1b[2J"))
    cache.write(tmp_path / "fan/id_00.h5", clips, {}, n_mels=4)
    with pytest.raises(InputError, match="rename it") as raised:
        plan({"dataset": {"name": "fans", "features": str(tmp_path)}, "features": {"n_mels": 4}})
    assert str(raised.value).isprintable()


def test_a_cache_that_trains_on_what_it_tests_is_refused(tmp_path: Path) -> None:
    entries = [Entry("a.wav", "train", "", 0.0, 2.0), Entry("a.wav", "test", "", 1.0, 3.0)]
    clips = [CachedClip(entry, "0" * 64, 512, noise([9], mels=4)[0]) for entry in entries]
    cache.write(tmp_path / "fan/id_00.h5", clips, {}, n_mels=4)
    with pytest.raises(InputError, match=r"id_00\.h5: a\.wav.* overlap"):
        plan({"dataset": {"name": "fans", "features": str(tmp_path)}, "features": {"n_mels": 4}})


COPIES = Path(".snakemake/storage/s3/sounds/plant")


def stored(objects: dict[str, tuple[int, str]], path: str = "s3://sounds/plant") -> Run:
    """Plan a run whose recordings are in a storage that holds these objects."""
    config = {"dataset": {"name": "plant", "path": path}}
    return plan(config, lambda query: Listing(COPIES, objects if query == path else {}))["demo"]


OBJECTS = {
    "fan/train/normal_id_00_00000000.wav": (10, "a"),
    "fan/test/anomaly_id_00_00000000.wav": (10, "b"),
    "readme.txt": (1, "c"),
}


def test_recordings_in_a_storage_are_known_by_their_names_and_looked_at_in_the_listing_only() -> None:
    run = stored(OBJECTS)
    assert run.machines == [FAN_0]
    assert run.recordings.files(FAN_0) == [
        str(COPIES / "fan/train/normal_id_00_00000000.wav"),
        str(COPIES / "fan/test/anomaly_id_00_00000000.wav"),
    ]
    fingerprint = run.recordings.fingerprint(FAN_0)
    assert stored(OBJECTS | {"readme.txt": (2, "d")}).recordings.fingerprint(FAN_0) == fingerprint
    for replaced in ((11, "a"), (10, "d")):
        changed = stored(OBJECTS | {"fan/train/normal_id_00_00000000.wav": replaced})
        assert changed.recordings.fingerprint(FAN_0) != fingerprint


@pytest.mark.parametrize(
    ("objects", "path", "sentence"),
    [
        ({"readme.txt": (1, "c")}, "s3://sounds/plant", "holds no recordings"),
        (OBJECTS, "s3://sounds/plant.tsv", "a sheet can only list recordings of this computer"),
        ({"fan//normal_id_00_00000000.wav": (1, "c")}, "s3://sounds/plant", "'fan//normal_id_00_00000000.wav'"),
        ({"/etc/normal_id_00_00000000.wav": (1, "c")}, "s3://sounds/plant", "'/etc/normal_id_00_00000000.wav'"),
        ({"../../normal_id_00_00000000.wav": (1, "c")}, "s3://sounds/plant", "'../../normal_id_00_00000000.wav'"),
    ],
)
def test_what_a_storage_cannot_give_is_said(objects: dict[str, tuple[int, str]], path: str, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        stored(objects, path)


def test_a_storage_is_read_by_snakemake_only() -> None:
    with pytest.raises(InputError, match="can be read by snakemake only"):
        plan({"dataset": {"name": "plant", "path": "s3://sounds/plant"}})


def test_quantiles_that_would_be_one_column_are_refused(tmp_path: Path) -> None:
    dataset = sheet(tmp_path, *ROWS)
    with pytest.raises(InputError, match=r"scores\.quantiles: one stands there twice"):
        plan({"dataset": dataset, "scores": {"quantiles": [0.9, 0.9000000000001]}})
