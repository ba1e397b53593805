"""`snakemake retrieve` with the real Snakefile, from a server on this computer to tables."""

from __future__ import annotations

import io
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import soundfile
from offnote.config import Demo
from offnote.retrieve import archives_of
from offnote.synthesis import planned_paths, synthesise_clip

from tests.workflow.runs import QUICK, Workflow
from tests.zenodo import Answer, Zenodo, cut, good, other, serving, stall, zipped

CLIPS = Demo(train=8, test_normal=4, test_anomaly=4, duration=2.0)
YEAR = 2024
# Behind the options, of which some take several words.
TARGET = ("--", "retrieve")


def recordings(machine_type: str) -> bytes:
    """Return an archive with clips named as those of the year."""
    files = {}
    for number, path in enumerate(planned_paths(CLIPS, "rotor", "id_00")):
        stream = io.BytesIO()
        soundfile.write(stream, synthesise_clip(path, CLIPS), 16000, subtype="PCM_16", format="WAV")
        split, label = path.split("/")[1], path.split("/")[2].partition("_")[0]
        files[f"{machine_type}/{split}/section_00_source_{split}_{label}_{number:04d}_speed_1.wav"] = stream.getvalue()
    return zipped(files)


@pytest.fixture
def zenodo(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zenodo]:
    """Return a server that holds the development set of the year."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    records: dict[int, dict[str, bytes]] = {}
    for archive in archives_of(YEAR, ["development"]):
        records.setdefault(archive.record, {})[archive.name] = recordings(archive.machine_type)
    with serving(Zenodo(records)) as server:
        yield server


def section(zenodo: Zenodo, machines: list[str], **more: Any) -> dict[str, Any]:
    return {"year": YEAR, "sets": ["development"], "machines": machines, "url": zenodo.url, **more}


def test_recordings_are_retrieved_once_and_evaluated(workflow: Workflow, zenodo: Zenodo) -> None:
    zenodo.next_for("dev_fan.zip", cut(200_000))
    dataset = {"name": "dcase2024", "path": f"data/dcase{YEAR}"}
    config = QUICK | {"run": "real", "dataset": dataset, "retrieve": section(zenodo, ["fan"])}
    # A killed download left this.
    leftover = workflow.folder / "data/dcase2024/development/fan/train/.clip.ab_3xyz9.part.wav"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    said = workflow.finish(config, *TARGET)
    assert "Recordings: data/dcase2024; name this folder as dataset.path" in said
    assert not leftover.exists()
    assert [headers.get("Range", "")[:6] for _, headers in zenodo.downloads()] == ["", "bytes="]
    assert [path.name for path in (workflow.folder / "data/dcase2024/archives").iterdir()] == ["dev_fan.tsv"]
    log = (workflow.folder / "logs/retrieve/dev_fan.log").read_text(encoding="utf-8")
    assert "goes on at byte" in log
    assert "is done after" in log

    asked = len(zenodo.asked)
    assert workflow.planned(config, *TARGET) == {}
    another = section(zenodo, ["fan"], keep_archives=True, tries=2, timeout=9.0) | {"url": "http://127.0.0.1:1"}
    assert workflow.planned(config | {"retrieve": another}, *TARGET) == {}
    workflow.finish(config, *TARGET)
    assert len(zenodo.asked) == asked

    workflow.finish(config)
    rows = workflow.rows("real/tables/machines.csv")
    assert {(row["machine_type"], row["machine_id"], row["status"]) for row in rows} == {("fan", "section_00", "ok")}


def test_an_archive_that_cannot_be_had_is_named_last_and_the_others_come(workflow: Workflow, zenodo: Zenodo) -> None:
    zenodo.next_for("dev_fan.zip", other(b"<html>"))
    del zenodo.records[10902294]["dev_slider.zip"]
    config = {"retrieve": section(zenodo, ["fan", "slider", "valve"], tries=1)}
    done = workflow.run(config, *TARGET)
    assert done.returncode == 1
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("offnote: retrieval of dev_")]
    assert any("dev_slider.zip" in line and "it holds dev_ToyCar.zip, dev_ToyTrain.zip" in line for line in said[-2:])
    assert any("dev_fan.zip" in line and "sends 6 bytes" in line for line in said[-2:])
    assert (workflow.folder / "data/dcase2024/archives/dev_valve.tsv").exists()
    assert not (workflow.folder / "data/dcase2024/archives/dev_fan.tsv").exists()
    workflow.run(config, *TARGET)
    assert (workflow.folder / "data/dcase2024/archives/dev_fan.tsv").exists()


def test_after_a_kill_the_same_command_goes_on_where_the_download_was(workflow: Workflow, zenodo: Zenodo) -> None:
    zenodo.next_for("dev_fan.zip", stall(200_000))
    config = {"retrieve": section(zenodo, ["fan"])}
    command = workflow.command(config, *TARGET)
    with (workflow.folder / "screen.txt").open("w", encoding="utf-8") as screen:
        killed = subprocess.Popen(command, cwd=workflow.folder, stdout=screen, stderr=screen)
        archives = workflow.folder / "data/dcase2024/archives"
        until = time.monotonic() + 60
        try:
            while not any(part.stat().st_size > 100_000 for part in archives.glob("*.part")):
                assert time.monotonic() < until
                time.sleep(0.05)
        finally:
            killed.kill()
            killed.wait()
    workflow.finish(config, *TARGET)
    assert [headers.get("Range", "")[:6] for _, headers in zenodo.downloads()] == ["", "bytes="]
    assert [path.name for path in archives.iterdir()] == ["dev_fan.tsv"]


def test_few_archives_are_downloaded_at_once(workflow: Workflow, zenodo: Zenodo) -> None:
    def slow(answer: Answer) -> None:
        time.sleep(2.0)
        good(answer)

    machines = ["fan", "valve", "slider", "gearbox"]
    for machine_type in machines:
        zenodo.next_for(f"dev_{machine_type}.zip", slow)
    config = {"retrieve": section(zenodo, machines, folder="elsewhere")}
    workflow.finish(config, *TARGET, cores=4)
    assert len(zenodo.downloads()) == 4
    assert zenodo.most_at_once == 2
    assert len(list((workflow.folder / "elsewhere/development").iterdir())) == 4


def test_recordings_that_are_not_there_stop_a_run_but_not_their_retrieval(workflow: Workflow, zenodo: Zenodo) -> None:
    config = {"dataset": {"name": "a", "path": "data/dcase2024"}, "retrieve": section(zenodo, ["fan"])}
    assert workflow.planned(config, *TARGET) == {"retrieve": 1, "retrieve_archive": 1}
    done = workflow.run(config)
    assert done.returncode == 1
    assert "dataset.path: there is no data/dcase2024" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("stated", "sentence"),
    [
        ({}, 'retrieve.year: say which year to download, as in --config "retrieve={year: 2024}"'),
        ({"retrieve": {"year": 2024, "machines": ["pump"]}}, "retrieve.machines: 2024 has no 'pump' in development"),
        (
            {"runs": {"b": {"retrieve": {"year": 2024}}}, "retrieve": {"year": 2023}},
            "run b: retrieve.year must be the same in all runs: state this outside `runs`",
        ),
    ],
)
def test_mistakes_are_named_before_anything_is_downloaded(
    workflow: Workflow, stated: dict[str, Any], sentence: str
) -> None:
    done = workflow.run(stated, *(() if "runs" in stated else TARGET))
    assert done.returncode == 1
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (workflow.folder / "data").exists()


def test_the_command_line_is_enough(workflow: Workflow, zenodo: Zenodo) -> None:
    typed = f"retrieve={{year: 2024, sets: [development], machines: [fan], url: '{zenodo.url}', keep_archives: true}}"
    workflow.finish({}, "--config", typed, *TARGET)
    assert (workflow.folder / "data/dcase2024/archives/dev_fan.zip").read_bytes() == zenodo.records[10902294][
        "dev_fan.zip"
    ]
    assert len(list((workflow.folder / "data/dcase2024/development/fan").rglob("*.wav"))) == 16
