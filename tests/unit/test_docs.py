"""What the docs say of the tests and of the configuration is so."""

from __future__ import annotations

import doctest
import re
from typing import Any

import pytest
import yaml
from offnote.config import ROOT, resolve
from offnote.descriptions import Description, names
from offnote.status import Status
from snakemake.cli import get_argument_parser

FOLDERS = (ROOT, ROOT / "docs", ROOT / "config", ROOT / "results")
PAGES = [path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in sorted(folder.glob("*.md"))]


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


FAULTS = read("docs/faults.md")


@pytest.mark.parametrize(("path", "test"), sorted(set(re.findall(r"`(tests/\S+\.py)::(\w+)`", FAULTS))))
def test_every_test_that_the_table_of_faults_names_is_there(path: str, test: str) -> None:
    assert f"def {test}(" in read(path)


def test_every_line_of_the_tables_of_faults_names_a_test() -> None:
    rows = [line for line in FAULTS.splitlines() if line.startswith("| ") and not line.endswith("| test |")]
    assert len(rows) > 25
    assert all("::test_" in row for row in rows)


@pytest.mark.parametrize("page", PAGES)
def test_links_between_the_pages_lead_somewhere(page: str) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", read(page)):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M) if anchor else [""]
        assert anchor in [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]


def holds_as_configuration(shown: dict[str, Any]) -> None:
    dataset = {"name": "pump", "path": "recordings"} | shown.get("dataset", {})
    assert resolve(shown | {"dataset": dataset})


def holds_as_profile(shown: dict[str, Any]) -> None:
    """Expect that Snakemake knows the options."""
    get_argument_parser().parse_args([word for name, values in shown.items() for word in (f"--{name}", *values)])


def holds_as_description(shown: dict[str, Any]) -> None:
    assert Description(**shown).challenge.based_on in names()


@pytest.mark.parametrize("page", [page for page in PAGES if "```yaml" in read(page)])
def test_the_yaml_that_the_pages_show_holds(page: str) -> None:
    holds = {"docs/cluster.md": holds_as_profile, "docs/next_year.md": holds_as_description}
    blocks = re.findall(r"```yaml\n(.*?)```", read(page), re.S)
    assert blocks
    for block in blocks:
        # A line of dots stands for more like the one above.
        holds.get(page, holds_as_configuration)(yaml.safe_load(re.sub(r"^ *…\n", "", block, flags=re.M)))


def test_every_status_of_a_machine_stands_on_the_page_of_the_files() -> None:
    rows = re.findall(r"^\| `status` \| (.*) \|$", read("docs/files.md"), re.M)
    assert set(re.findall("`(.*?)`", rows[0])) == set(Status)


def test_the_numbers_of_the_readme_come_out() -> None:
    found = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert found.attempted > 5
    assert found.failed == 0
