"""What the docs say of the tests and of the configuration is so."""

from __future__ import annotations

import doctest
import re

import pytest
import yaml
from offnote.config import ROOT, resolve
from offnote.status import Status

FAULTS = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("path", "test"), sorted(set(re.findall(r"`(tests/\S+\.py)::(\w+)`", FAULTS))))
def test_every_test_that_the_table_of_faults_names_is_there(path: str, test: str) -> None:
    assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8")


def test_every_line_of_the_tables_of_faults_names_a_test() -> None:
    rows = [line for line in FAULTS.splitlines() if line.startswith("| ") and not line.endswith("| test |")]
    assert len(rows) > 25
    assert all("::test_" in row for row in rows)


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_links_between_the_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / "docs" / target).exists(), target


@pytest.mark.parametrize("page", ["enter", "retrieve", "recordings"])
def test_the_configurations_that_the_pages_show_hold(page: str) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / f"docs/{page}.md").read_text(encoding="utf-8"), re.S)
    assert blocks
    for block in blocks:
        shown = yaml.safe_load(block)
        dataset = {"name": "pump", "path": "recordings"} | shown.get("dataset", {})
        assert resolve(shown | {"dataset": dataset})


def test_every_status_of_a_machine_stands_on_the_page_of_the_files() -> None:
    rows = re.findall(r"^\| `status` \| (.*) \|$", (ROOT / "docs/files.md").read_text(encoding="utf-8"), re.M)
    assert set(re.findall("`(.*?)`", rows[0])) == set(Status)


def test_the_numbers_of_the_readme_come_out() -> None:
    found = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert found.attempted > 5
    assert found.failed == 0
