"""The demo as `make demo` runs it: at its full size, with the published recipe."""

from __future__ import annotations

from tests.workflow.runs import Workflow


def test_no_machine_of_the_demo_is_trivial_and_none_impossible(workflow: Workflow) -> None:
    workflow.finish({"run": "demo"}, cores=8)
    means = [row for row in workflow.rows("demo/tables/machines.csv") if row["trial"] == "mean"]
    assert len(means) == 8
    outside = {
        row["machine_type"] + "/" + row["machine_id"]: row["auc"]
        for row in means
        if not 0.65 < float(row["auc"]) < 0.95
    }
    assert outside == {}
