"""The command `offnote`, as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from offnote.cli import main


def test_help_names_every_command() -> None:
    done = subprocess.run([sys.executable, "-m", "offnote", "--help"], capture_output=True, text=True, check=True)
    assert {"sheet", "doctor"} <= set(done.stdout.split())


def test_sheet_says_what_it_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(4):
        (tmp_path / f"normal_{number}.wav").touch()
    assert main(["sheet", str(tmp_path)]) == 0
    assert "train" in capsys.readouterr().out
    assert (tmp_path / "sheet.tsv").is_file()
    assert main(["sheet", str(tmp_path)]) == 1
    assert "there already" in capsys.readouterr().err


def test_doctor_finds_nothing_wrong_with_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("run: demo\n")
    assert main(["doctor", "--configfile", str(config)]) == 0
    out = capsys.readouterr().out
    assert "torch" in out
    assert "machines 8" in out
    assert "GiB free" in out


def test_doctor_weighs_recordings_against_the_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = np.zeros(16000, dtype=np.float32)
    for number in range(3):
        soundfile.write(tmp_path / f"normal_{number}.wav", samples, 16000)
    main(["sheet", str(tmp_path)])
    config = tmp_path / "config.yaml"
    config.write_text(f"dataset: {{name: mine, path: {tmp_path / 'sheet.tsv'}}}\n")
    assert main(["doctor", "--configfile", str(config)]) == 0
    assert "clips 3, machines 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("training: {epoch: 3}\n", "unknown key"), ("training: [\n", "is not YAML"), (None, "cannot be read")],
)
def test_doctor_names_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, sentence: str
) -> None:
    config = tmp_path / "config.yaml"
    if text is not None:
        config.write_text(text)
    assert main(["doctor", "--configfile", str(config)]) == 1
    captured = capsys.readouterr()
    assert sentence in captured.out + captured.err
