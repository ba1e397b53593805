"""What the doctor says of GPUs, drivers and disks that this machine need not have."""

from __future__ import annotations

import shutil
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from offnote import doctor
from offnote.audio import slices
from offnote.device import Driver
from offnote.doctor import GIB, examine
from offnote.plan import FEATURES, plan
from offnote.spectra import load_opencv

Usage = namedtuple("Usage", ["total", "used", "free"])


def report(config: dict[str, Any], folder: Path) -> dict[str, bool]:
    return {finding.text: finding.good for finding in examine(config, folder)}


def said(findings: dict[str, bool], part: str) -> tuple[str, bool]:
    [found] = [(text, good) for text, good in findings.items() if part in text]
    return found


@pytest.mark.parametrize(
    ("cuda", "good", "advice"),
    [(13, True, "runs CUDA 13"), (12, False, "too old, so torch will use the CPU")],
)
def test_a_driver_must_fit_the_cuda_of_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cuda: int, good: bool, advice: str
) -> None:
    monkeypatch.setattr(doctor, "gpu_names", lambda: ["NVIDIA A100", "NVIDIA A100"])
    monkeypatch.setattr(doctor, "gpus", lambda: 1)
    monkeypatch.setattr(doctor, "driver", lambda: Driver("580.1", cuda))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    findings = report({}, tmp_path)
    assert said(findings, "GPUs: NVIDIA A100, NVIDIA A100; 1 of them") == said(findings, "GPUs:")
    assert said(findings, advice)[1] is good


def test_a_torch_without_cuda_is_said_beside_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "gpu_names", lambda: ["NVIDIA A100"])
    monkeypatch.setattr(torch.version, "cuda", None)
    assert said(report({}, tmp_path), "torch was built without CUDA")[1] is False


def test_opencv_must_load_where_it_makes_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    load_opencv.cache_clear()
    for of_amd in (True, False):
        monkeypatch.setattr(doctor, "is_of_amd", lambda of_amd=of_amd: of_amd)
        bad = [text for text, good in report({}, tmp_path).items() if "OpenCV" in text and not good]
        assert len(bad) == of_amd


@pytest.mark.parametrize("config", [{"device": "cuda"}, {"require_gpu": True}, {}], ids=str)
def test_no_gpu_is_bad_only_where_one_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any]
) -> None:
    monkeypatch.setattr(doctor, "gpu_names", list)
    assert said(report(config, tmp_path), "no NVIDIA GPU")[1] is (not config)


def test_recordings_on_s3_are_left_to_snakemake(tmp_path: Path) -> None:
    findings = report({"dataset": {"name": "plant", "path": "s3://sounds/plant"}, "device": "cuda"}, tmp_path)
    assert said(findings, "recordings on S3 are looked at by snakemake alone")[1]
    assert said(findings, "GPU")


@pytest.mark.parametrize(("free", "good"), [(GIB // 10, False), (10 * GIB, True)])
def test_the_disk_must_hold_what_the_demo_will_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, good: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, free))
    text, found = said(report({}, tmp_path), "GiB free")
    assert found is good
    assert ("free some space" in text) is not good


def test_results_that_are_a_link_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "results").symlink_to(tmp_path / "no disk")
    text, found = said(report({}, tmp_path / "results"), "a link to nowhere")
    assert text.startswith(f"{tmp_path}/results")
    assert not found


def test_features_that_are_there_need_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = list(plan({}).values())
    clips, seconds, megabyte = 8 * 128, 10.0, 1e6
    needed = doctor.bytes_needed(runs)
    assert needed["demo recordings"] == clips * seconds * 16000 * 2
    assert needed["feature caches"] / megabyte == pytest.approx(clips * seconds * 31.25 * 64 * 4 / megabyte)
    for machine in runs[0].machines:
        path = Path(FEATURES.format(dataset="demo", key=runs[0].feature_key, **machine._asdict()))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert doctor.bytes_needed(runs) == {"demo recordings": 0, "feature caches": 0}


def test_the_demo_is_recorded_at_its_own_rate_with_all_microphones_of_its_year(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    as_recorded = doctor.bytes_needed(list(plan({}).values()))["demo recordings"]
    assert doctor.bytes_needed(list(plan({"audio": {"sample_rate": 8000}}).values()))["demo recordings"] == as_recorded
    run = plan({"demo": {"year": 2026, "duration": 2.0}})["demo"]
    clips = sum(len(run.recordings.clips[machine]) for machine in run.scored_machines)
    assert doctor.bytes_needed([run])["demo recordings"] == clips * 2.0 * 16000 * 2 * 2


@pytest.mark.parametrize(
    "slicing", [{}, {"length": 2.0}, {"length": 2.0, "hop": 0.5}, {"length": 2.0, "hop": 4.0}], ids=str
)
@pytest.mark.parametrize("seconds", [2.0, 11.0])
def test_the_estimate_counts_the_slices_that_features_are_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slicing: dict[str, float], seconds: float
) -> None:
    monkeypatch.chdir(tmp_path)
    rate = 16000
    header = "path\tmachine_type\tmachine_id\tsplit\n"
    Path("sheet.tsv").write_text(header + "".join(f"{n}.wav\tfan\tid_00\ttrain\n" for n in range(3)))
    for number in range(3):
        soundfile.write(f"{number}.wav", np.zeros(round(seconds * rate)), rate)
    runs = list(plan({"dataset": {"name": "fans", "path": "sheet.tsv"}, "slice": slicing}).values())
    settings = runs[0].settings
    ranges, _ = slices(Path("0.wav"), settings.audio, settings.slice, settings.gate)
    frames = sum(last - first for first, last in ranges) / settings.features.hop_length
    assert doctor.bytes_needed(runs)["feature caches"] == pytest.approx(
        3 * frames * settings.features.n_mels * 4, abs=1
    )


@pytest.mark.parametrize(("broken_clips", "good"), [("stop", False), ("exclude", True)])
def test_a_broken_clip_is_named_and_does_not_hide_the_estimate(tmp_path: Path, broken_clips: str, good: bool) -> None:
    header = "path\tmachine_type\tmachine_id\tsplit\n"
    (tmp_path / "sheet.tsv").write_text(header + "".join(f"{n}.wav\tfan\tid_00\ttrain\n" for n in range(3)))
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", np.zeros(16000), 16000)
    (tmp_path / "1.wav").write_bytes(b"")
    dataset = {"name": "fans", "path": str(tmp_path / "sheet.tsv"), "broken_clips": broken_clips}
    findings = report({"dataset": dataset}, tmp_path)
    text, found = said(findings, "1 of 3 clips looked at are broken")
    assert str(tmp_path / "1.wav") in text
    assert found is good
    assert said(findings, "GiB free")[1]


def test_a_clip_that_is_gone_is_no_broken_one_to_go_on_without(tmp_path: Path) -> None:
    (tmp_path / "sheet.tsv").write_text("path\tmachine_type\tmachine_id\tsplit\na.wav\tfan\tid_00\ttrain\n")
    soundfile.write(tmp_path / "a.wav", np.zeros(16000), 16000)
    dataset = {"name": "fans", "path": str(tmp_path / "sheet.tsv"), "broken_clips": "exclude"}
    findings = {}
    for finding in examine({"dataset": dataset}, tmp_path):
        findings[finding.text] = finding.good
        if "clips 1" in finding.text:
            (tmp_path / "a.wav").unlink()
    assert not said(findings, "a.wav: there is no such recording")[1]
