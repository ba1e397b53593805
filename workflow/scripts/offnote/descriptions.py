r"""Descriptions of published datasets: the files in ``config/datasets``, checked key by key as they are read.

How clips are called is used by :mod:`offnote.datasets`, where they can be downloaded by :mod:`offnote.retrieve`, and
what a year of the challenge asks for by :mod:`offnote.challenge`. A new dataset is a new file and no new code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from offnote.config import ROOT, RecordSet
from offnote.config_files import read_file
from offnote.errors import InputError

FOLDER = ROOT / "config" / "datasets"
YEAR = re.compile(r"dcase(\d{4})")

MachineSet = Literal["development", "evaluation"]
Splitting = Literal["given", "first_normals"]


def with_fields(*fields: str) -> AfterValidator:
    """Return the check of a name with fields in braces: it may have these and no others."""

    def checked(text: str) -> str:
        for _, field, _, _ in Formatter().parse(text):
            if field is not None and field not in fields:
                raise ValueError(f"{text!r} has a field {{{field}}}; there are {', '.join(fields)}")
        return text

    return AfterValidator(checked)


def _regular_expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is no regular expression ({error})") from error
    return text


RegularExpression = Annotated[str, AfterValidator(_regular_expression)]


def _end_of_a_path(pattern: object) -> re.Pattern[str]:
    if not isinstance(pattern, str):
        raise ValueError(f"{pattern!r} is no text")
    compiled = re.compile(f"(?:^|/){_regular_expression(pattern)}$")
    for group in ("machine_type", "machine_id"):
        if group not in compiled.groupindex:
            raise ValueError(f"{pattern!r} does not tell the {group}; name a group (?P<{group}>…)")
    return compiled


class Described(BaseModel):
    """A part of a description, in which no key may be misspelt."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Record(Described):
    """Where a set's archives are.

    Attributes
    ----------
    record
        The number of the record on Zenodo.
    archives
        The name of the archive of a ``{machine_type}``.
    exceptions
        Names that differ, by machine type.
    """

    record: int
    archives: Annotated[str, with_fields("machine_type")]
    exceptions: dict[str, str] = {}


class StatedPackage(BaseModel):
    """What a year's file itself states of a submission; the rest is as in the year that it is based on."""

    model_config = ConfigDict(extra="allow", frozen=True)

    based_on: str = ""


class StatedChallenge(BaseModel):
    """What a year's file itself states of its challenge; the rest is as in the year that it is based on."""

    model_config = ConfigDict(extra="allow", frozen=True)

    based_on: str = ""
    package: StatedPackage = StatedPackage()
    demo: dict[str, Any] = {}


class Description(Described):
    """A file in ``config/datasets``.

    Attributes
    ----------
    description
        The dataset's full name.
    clips
        Patterns for the end of a clip's path without its suffix, with groups among the names of
        :class:`offnote.clips.Clip`, ``machine_type`` and ``machine_id`` at least. Without any, the file is no layout.
    split
        ``given`` by the path, or ``first_normals``: as many normal clips as there are anomalous ones, the first in
        name order, are for testing, the others for training (MIMII's rule).
    machines
        The machine IDs of each machine type, by set.
    records
        Where to download each set; of a young year not all are there yet.
    challenge
        What the challenge of the year asks for.
    """

    description: str = ""
    clips: tuple[Annotated[re.Pattern[str], BeforeValidator(_end_of_a_path)], ...] = ()
    split: Splitting | None = None
    machines: dict[MachineSet, dict[str, tuple[str, ...]]] = {}
    records: dict[RecordSet, Record] = {}
    challenge: StatedChallenge = StatedChallenge()

    @model_validator(mode="after")
    def _check_what_belongs_together(self) -> Self:
        if self.clips and self.split is None:
            raise ValueError("split is missing; it says how the paths in `clips` are divided")
        for part in self.records:
            if self.machine_set(part) not in self.machines:
                raise ValueError(f"machines.{self.machine_set(part)} is missing; records.{part} is about them")
        development, evaluation = (self.machines.get(kind, {}) for kind in ("development", "evaluation"))
        for name, ids in development.items():
            if both := sorted(set(ids) & set(evaluation.get(name, ()))):
                raise ValueError(f"machines: {name} has {both[0]} in both sets; a machine is of one of them")
        return self

    @staticmethod
    def machine_set(part: RecordSet) -> MachineSet:
        """Return whose recordings a set of records holds: additional training clips are the evaluation machines'."""
        return "development" if part == "development" else "evaluation"


def names() -> list[str]:
    """List the files in ``config/datasets``, without their suffix."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def years() -> list[int]:
    """List the years of the challenge that are described.

    Examples
    --------
    >>> years()[:2]
    [2020, 2021]
    """
    return sorted(int(found[1]) for found in map(YEAR.fullmatch, names()) if found)


def name_of(year: int) -> str:
    """Return the name of a year's file.

    Examples
    --------
    >>> name_of(2024)
    'dcase2024'
    """
    return f"dcase{year}"


def path_of(name: str) -> Path:
    """Return where a description stands."""
    return FOLDER / f"{name}.yaml"


def describe(name: str) -> Description:
    """Read a description.

    Raises
    ------
    InputError
        There is none of that name, or a key in it is wrong.

    Examples
    --------
    >>> describe("mimii").split
    'first_normals'
    """
    return _described(path_of(name))


@cache
def _described(path: Path) -> Description:
    try:
        return Description(**read_file(path))
    except ValidationError as error:
        raise mistake_in(path, error) from error


def mistake_in(path: Path, error: ValidationError, below: tuple[str, ...] = ()) -> InputError:
    """Name the first wrong key of a description, whose keys stand below others."""
    first = error.errors()[0]
    key = ".".join(map(str, (*below, *first["loc"])))
    said = first["msg"].removeprefix("Value error, ")
    return InputError(f"{path}: {key}: {said}" if key else f"{path}: {said}")


def stated_challenge(name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return what a file says under ``challenge``, key by key laid over the year it is based on.

    Its key ``package`` may be based on another year: young templates continue old ones, whatever else changes. What it
    says under ``demo`` is laid over what the year below says there.

    Parameters
    ----------
    name
        Of the file.
    above
        The files that are based on it.

    Raises
    ------
    InputError
        It is based on a file that is not there, on one without a package, or in the end on itself.
    """
    if name in above:
        raise InputError(f"{path_of(name)}: challenge.based_on: leads back to this file, over {', '.join(above)}")
    described = describe(name).challenge
    stated = described.model_dump(exclude_unset=True, exclude={"based_on"})
    if "package" in stated:
        stated["package"] = _package(name, described.package, above)
    base = _below(name, "challenge.based_on", described.based_on, above)
    if "demo" in base:
        stated["demo"] = base["demo"] | stated.get("demo", {})
    return base | stated


def _package(name: str, package: StatedPackage, above: tuple[str, ...]) -> Mapping[str, Any]:
    stated = package.model_dump(exclude_unset=True, exclude={"based_on"})
    below = _below(name, "challenge.package.based_on", package.based_on, above)
    if package.based_on and "package" not in below:
        raise InputError(f"{path_of(name)}: challenge.package.based_on: {package.based_on} says nothing of a package")
    base: Mapping[str, Any] = below.get("package", {})
    return {**base, **stated}


def _below(name: str, key: str, based_on: str, above: tuple[str, ...]) -> dict[str, Any]:
    if not based_on:
        return {}
    if based_on not in names():
        raise InputError(f"{path_of(name)}: {key}: there is no {based_on!r}; choose one of {', '.join(names())}")
    return stated_challenge(based_on, (*above, name))
