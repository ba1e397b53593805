"""What a Mahalanobis distance asks of a run's clips and settings is looked at before any job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from offnote.errors import InputError
from offnote.plan import plan

ROWS = [
    ("fan", "id_00", "train", "source"),
    ("fan", "id_00", "train", "target"),
    ("fan", "id_00", "test", ""),
    ("pump", "id_00", "train", ""),
    ("pump", "id_00", "test", "source"),
]


def settings(folder: Path, **model: Any) -> dict[str, Any]:
    lines = ["path\tmachine_type\tmachine_id\tsplit\tdomain"]
    for number, (machine_type, machine_id, split, domain) in enumerate(ROWS):
        path = f"{machine_type}/{number}.wav"
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(b"")
        lines.append("\t".join([path, machine_type, machine_id, split, domain]))
    (folder / "clips.tsv").write_text("\n".join(lines) + "\n")
    return {
        "dataset": {"name": "mine", "path": str(folder / "clips.tsv")},
        "preset": "dcase2023_mahalanobis",
        "model": model,
    }


def test_machines_with_and_without_domains_may_stand_side_by_side(tmp_path: Path) -> None:
    assert plan(settings(tmp_path, scope="machine"))
    assert plan(settings(tmp_path, scope="type"))


def test_a_model_of_clips_with_and_without_domains_is_refused_before_any_job(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"all/all: 1 of 3 training clips have no domain, such as pump/3.wav; give"):
        plan(settings(tmp_path, scope="set"))
    assert plan(settings(tmp_path, scope="set", distance="squared_error"))


def test_the_distance_of_the_mean_has_no_other_statistic(tmp_path: Path) -> None:
    stated = settings(tmp_path, distance="mahalanobis_of_mean") | {"evaluate": {"aggregator": "median"}}
    with pytest.raises(
        InputError,
        match=r"evaluate.aggregator: 'median' is none of mean, all that model.distance: mahalanobis_of_mean gives",
    ):
        plan(stated)
    assert plan(stated | {"model": {"distance": "mahalanobis_of_windows"}})
