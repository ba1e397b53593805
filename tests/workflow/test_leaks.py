"""Labels, test domains and test attributes enter at `evaluate` and nowhere before it."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from offnote.clips import Clip, read_clips, write_clips

from tests.workflow.runs import TINY_DEMO, Workflow

# Of domains there are two; that the test clips alone are of the target domain is what must not be known.
SECRETS = {"domain": "target", "attributes": "planted_attributes", "time": "planted_time"}


def test_nothing_before_evaluate_knows_labels_test_domains_or_attributes(demo: Workflow, workflow: Workflow) -> None:
    """Recordings under names that tell nothing, with marked cells beside them, which no earlier stage may have seen."""
    listed = read_clips(demo.folder / "results/cache/clips/demo.tsv")
    known = [clip for clip in listed if str(clip.machine) in ("rotor/id_00", "valve/id_00")]
    clips = [neutral(clip, number) for number, clip in enumerate(known)]
    (workflow.folder / "recordings").mkdir()
    for old, new in zip(known, clips, strict=True):
        shutil.copy(demo.folder / "results/cache/demo" / old.path, workflow.folder / "recordings" / new.path)
    write_clips(workflow.folder / "recordings/sheet.tsv", clips)
    dataset = {"name": "marked", "path": str(workflow.folder / "recordings/sheet.tsv")}
    workflow.finish(TINY_DEMO | {"dataset": dataset, "run": "marked"})
    earlier = [workflow.folder / "results" / name for name in ("cache/features", "marked/models", "marked/scores")]
    earlier += [workflow.folder / "logs" / stage for stage in ("features", "train", "score")]
    files = [path for folder in earlier for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    for path in files:
        content = path.read_bytes()
        for word in (*SECRETS.values(), "normal", "anomaly"):
            assert word.encode() not in content, path
    assert all(word in (workflow.folder / "results/cache/clips/marked.tsv").read_text() for word in SECRETS.values())


def neutral(clip: Clip, number: int) -> Clip:
    marked = replace(clip, path=f"{number:03}.wav", time=SECRETS["time"], attributes=SECRETS["attributes"])
    # A training clip's domain is known to detectors, as the challenges allow.
    return replace(marked, domain=SECRETS["domain"]) if clip.split == "test" else replace(marked, domain="source")


def test_caches_models_and_scores_are_the_same_whatever_the_labels(demo: Workflow, workflow: Workflow) -> None:
    """The same clips with every test label turned round, and new domains and attributes: only the tables may notice."""
    listed = read_clips(demo.folder / "results/cache/clips/demo.tsv")
    clips = [clip for clip in listed if clip.machine == ("rotor", "id_00")]
    other = {"normal": "anomaly", "anomaly": "normal"}
    turned = [
        replace(clip, label=other[clip.label], domain="target", attributes="planted") if clip.split == "test" else clip
        for clip in clips
    ]
    shutil.copytree(demo.folder / "results/cache/demo", workflow.folder / "recordings")
    write_clips(workflow.folder / "recordings/sheet.tsv", turned)
    dataset = {"name": "turned", "path": str(workflow.folder / "recordings/sheet.tsv")}
    workflow.finish(TINY_DEMO | {"dataset": dataset})
    for ours, theirs in [
        ("cache/features/turned/*/rotor/id_00.h5", "cache/features/demo/*/rotor/id_00.h5"),
        ("demo/models/rotor/*/*/*", "demo/models/rotor/*/*/*"),
        ("demo/scores/rotor/*/*", "demo/scores/rotor/*/*"),
    ]:
        assert list(workflow.files(ours).values()) == list(demo.files(theirs).values())
        assert workflow.files(ours)
    auc = {flow: float(flow.rows("demo/tables/machines.csv")[0]["auc"]) for flow in (demo, workflow)}
    assert auc[workflow] == pytest.approx(1 - auc[demo])
