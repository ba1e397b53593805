"""The command `offnote`, as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from offnote.cli import main
from offnote.config import ROOT
from offnote.submission import write_submission

from tests.submissions import TEAM, system, systems


def test_help_names_every_command() -> None:
    done = subprocess.run([sys.executable, "-m", "offnote", "--help"], capture_output=True, text=True, check=True)
    assert {"sheet", "doctor", "evaluate", "check-submission"} <= set(done.stdout.split())


def test_sheet_says_what_it_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        (tmp_path / f"normal_{number}.wav").touch()
    assert main(["sheet", str(tmp_path)]) == 0
    assert "train" in capsys.readouterr().out
    assert (tmp_path / "sheet.tsv").is_file()
    assert main(["sheet", str(tmp_path)]) == 1
    assert "there already" in capsys.readouterr().err


def test_sheet_tells_of_sound_files_that_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.wav", "b.m4a", "sub/c.MP3", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert main(["sheet", str(tmp_path)]) == 0
    assert "Left out, of formats that are not read here: b.m4a and 1 more. Convert" in capsys.readouterr().out
    assert "b.m4a" not in (tmp_path / "sheet.tsv").read_text()


@pytest.mark.parametrize("folder", ["plain", "a,b: {c} #d", "Wérk Süd 1", 'it\'s "here"', "- x"])
def test_sheet_prints_a_line_of_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "1.wav").touch()
    assert main(["sheet", str(tmp_path / folder)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    sheet = tmp_path / folder / "sheet.tsv"
    assert yaml.safe_load(line)["dataset"]["path"] == str(sheet)
    if folder == "plain":
        assert line == f"dataset: {{name: plain, path: {sheet}}}"


@pytest.mark.parametrize("output", ["file/sheet.tsv", f"{300 * 'x'}/sheet.tsv", "/proc/no/sheet.tsv"])
def test_sheet_says_where_it_cannot_write(tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str) -> None:
    (tmp_path / "1.wav").touch()
    (tmp_path / "file").touch()
    assert main(["sheet", str(tmp_path), "--output", str(tmp_path / output)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert output in line


def test_sheet_makes_the_folder_of_its_output(tmp_path: Path) -> None:
    (tmp_path / "1.wav").touch()
    assert main(["sheet", str(tmp_path), "--output", str(tmp_path / "sheets/mine.tsv")]) == 0
    assert (tmp_path / "sheets/mine.tsv").is_file()


@pytest.fixture
def own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return ``config/config.yaml`` of an otherwise empty current folder, which asks for the demo."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config/config.yaml"
    path.parent.mkdir()
    path.write_text("run: demo\n")
    return path


@pytest.mark.usefixtures("own_configuration")
def test_doctor_finds_nothing_wrong_with_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "torch" in out
    assert "machines 8" in out
    assert "GiB free" in out


@pytest.mark.usefixtures("own_configuration")
def test_doctor_weighs_recordings_against_the_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = np.zeros(16000, dtype=np.float32)
    for number in range(3):
        soundfile.write(tmp_path / f"normal_{number}.wav", samples, 16000)
    main(["sheet", str(tmp_path)])
    config = tmp_path / "config.yaml"
    config.write_text(f"dataset: {{name: mine, path: {tmp_path / 'sheet.tsv'}}}\n")
    assert main(["doctor", "--configfile", str(config)]) == 0
    assert "clips 3, machines 1" in capsys.readouterr().out


def test_doctor_lays_files_over_the_configuration_of_the_folder(
    tmp_path: Path, own_configuration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_configuration.write_text("run: mine\ndemo: {train: 4, test_normal: 3, test_anomaly: 2}\n")
    (tmp_path / "a.yaml").write_text("demo: {train: 1, test_anomaly: 1}\n")
    (tmp_path / "b.yaml").write_text("demo: {train: 2}\n")
    assert main(["doctor", "--configfile", "a.yaml", "b.yaml"]) == 0
    out = capsys.readouterr().out
    assert "configuration: config/config.yaml, a.yaml, b.yaml\n" in out
    assert f"run mine: clips {8 * (2 + 3 + 1)}" in out


def test_doctor_takes_the_configuration_of_the_checkout_where_the_folder_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["doctor"])  # Which may find fault with it: it is that of whoever runs the tests.
    assert f"configuration: {ROOT}/config/config.yaml\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("training: {epoch: 3}\n", "unknown key"),
        ("training: [\n", "is not YAML"),
        ("- training\n", "has no keys at its top level"),
        ("word\n", "has no keys at its top level"),
        ("seed: 1\nseed: 2\n", "seed (lines 1 and 2)"),
        (None, "cannot be read"),
    ],
)
@pytest.mark.usefixtures("own_configuration")
def test_doctor_names_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, sentence: str
) -> None:
    config = tmp_path / "mine.yaml"
    if text is not None:
        config.write_text(text)
    assert main(["doctor", "--configfile", str(config)]) == 1
    captured = capsys.readouterr()
    assert (captured.out + captured.err).count(sentence) == 1
    assert config.name in captured.out + captured.err


ROWS = "normal_id_00_00000000.wav,1\nnormal_id_00_00000001.wav,3\nanomaly_id_00_00000000.wav,2\n"


def test_evaluate_prints_the_tables_and_writes_only_where_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "system").mkdir()
    (tmp_path / "system/anomaly_score_fan_id_00.csv").write_text(ROWS)
    assert main(["evaluate", str(tmp_path / "system"), "--year", "2020"]) == 0
    out = capsys.readouterr().out
    assert "# system, as DCASE 2020 Task 2 evaluates" in out
    assert "| fan          | 00              | 50.00 |" in out
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["anomaly_score_fan_id_00.csv"]
    assert main(["evaluate", str(tmp_path / "system"), "--year", "2020", "--output", str(tmp_path / "tables")]) == 0
    assert f"Wrote {tmp_path}/tables/sections.csv, " in capsys.readouterr().out
    assert (tmp_path / "tables/sections.csv").read_text().startswith("machine_type,section,auc,pauc\nfan,00,0.5,")


def test_evaluate_prints_one_json_object_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "anomaly_score_fan_id_00.csv").write_text(ROWS)
    assert main(["evaluate", str(tmp_path), "--year", "2020", "--json", "--output", str(tmp_path / "tables")]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert captured.err == ""
    keys = "year sections types overall official_score complete false_alarms absent unknown_types broken_clips"
    assert list(found) == [*keys.split(), "clips_compared"]
    figures = {"auc": 0.5, "pauc": pytest.approx(0.5 - 0.5 / 19)}
    assert found["sections"] == [{"machine_type": "fan", "section": "00"} | figures]
    both = {"arithmetic_mean": figures, "harmonic_mean": figures}
    assert found["types"] == [{"machine_type": "fan"} | both]
    assert (found["overall"], found["official_score"]) == (both, None)


@pytest.mark.parametrize(
    ("year", "rows", "sentence"),
    [
        ("2020", ROWS.replace("3", "nan"), "anomaly_score_fan_id_00.csv, row 2: 'nan' is not a finite number"),
        ("2020", ROWS + ROWS, "anomaly_score_fan_id_00.csv, row 4: the clip normal_id_00_00000000.wav stands in row 1"),
        ("2022", ROWS, "so try --year 2020"),
        ("2019", ROWS, "there is no year 2019 here"),
    ],
)
@pytest.mark.parametrize("further", [[], ["--json"]])
def test_evaluate_names_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], year: str, rows: str, sentence: str, further: list[str]
) -> None:
    (tmp_path / "anomaly_score_fan_id_00.csv").write_text(rows)
    assert main(["evaluate", str(tmp_path), "--year", year, *further]) == 1
    captured = capsys.readouterr()
    [line] = captured.err.splitlines()
    assert sentence in line
    assert captured.out == ""


def test_check_submission_finds_nothing_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = write_submission(tmp_path / "out", 2026, TEAM, systems(2026, tmp_path))
    for path in (written.archive, tmp_path / "out/task2", tmp_path / "out/task2/Lastname_Institute_task2_1"):
        assert main(["check-submission", str(path), "--year", "2026"]) == 0
        first, last = capsys.readouterr().out.splitlines()
        assert first == f"{path}, as a submission to DCASE 2026 Task 2"
        assert last.startswith("ok   ")


@pytest.mark.parametrize("further", [[], ["--json"]])
def test_check_submission_lists_everything_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], further: list[str]
) -> None:
    write_submission(tmp_path, 2026, TEAM, [system(2026)])
    folder = tmp_path / "task2/Lastname_Institute_task2_1"
    (folder / "anomaly_score_Sander_section_00_test.csv").write_text("section_00_0000.wav,nan\n")
    (folder / "decision_result_ToyDrone_section_00_test.csv").unlink()
    (folder / "notes.txt").touch()
    assert main(["check-submission", str(tmp_path / "task2"), "--year", "2026", *further]) == 1
    captured = capsys.readouterr()
    assert captured.err == ""
    sander = "anomaly_score_Sander_section_00_test.csv"
    if further:
        found = json.loads(captured.out)
        assert list(found) == ["ok", "year", "systems", "tables", "mistakes", "warnings", "compared"]
        assert (found["ok"], found["year"], found["systems"]) == (False, 2026, ["Lastname_Institute_task2_1"])
        assert found["mistakes"][0] == {
            "place": f"task2/Lastname_Institute_task2_1/{sander}",
            "text": "'nan' is not a finite number; every clip needs a score",
            "rows": [1],
        }
        assert (len(found["mistakes"]), len(found["warnings"])) == (4, 1)
    else:
        bad = [line for line in captured.out.splitlines() if line.startswith("BAD ")]
        assert f"{sander}, row 1: 'nan' is not a finite number" in bad[0]
        assert "decision_result_Sander_section_00_test.csv" in bad[1]
        assert "decision_result_ToyDrone_section_00_test.csv: is missing" in bad[2]
        assert "notes.txt: does not belong into a submission" in bad[3]
        assert bad[4] == "BAD  1 system, 9 score or decision files: 4 mistakes, 1 note"


def test_check_submission_compares_with_the_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_submission(tmp_path, 2026, TEAM, [system(2026)])
    (tmp_path / "sounds/Sander/test").mkdir(parents=True)
    for number in range(8):
        (tmp_path / f"sounds/Sander/test/section_00_{number:04d}.wav").touch()
    arguments = ["check-submission", str(tmp_path), "--year", "2026", "--clips", str(tmp_path / "sounds")]
    assert main(arguments) == 1
    out = capsys.readouterr().out
    assert out.count("has no row for the test clip section_00_0006.wav and 1 more") == 2
    assert "holds no test clip of BlowerDustCollector section_00, SewingMachine" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.zip", "--year", "2026"], "nowhere.zip: cannot be read (No such file or directory)"),
        ([".", "--year", "2026"], "is neither a folder task2 nor the folder of a system"),
        ([".", "--year", "2019"], "there is no year 2019 here"),
        ([".", "--year", "2026", "--clips", "none"], "none: is neither a folder of recordings nor a clip list"),
    ],
)
def test_check_submission_names_mistakes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["check-submission", *arguments]) == 1
    captured = capsys.readouterr()
    [line] = captured.err.splitlines()
    assert sentence in line
    assert captured.out == ""
