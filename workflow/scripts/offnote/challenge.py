"""The challenge, year by year: how its files are called, what they hold, and how systems are judged.

The facts of a year stand under the key ``challenge`` of its file in ``config/datasets``, so that a new year is a new
file and no new code. Files in these names are read by :mod:`offnote.score_folders`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import ValidationError, model_validator

from offnote.clips import Machine
from offnote.config import NAME_PATTERN, Settings
from offnote.descriptions import (
    Described,
    MachineSet,
    RegularExpression,
    describe,
    mistake_in,
    name_of,
    path_of,
    stated_challenge,
    with_fields,
    years,
)
from offnote.errors import InputError

MACHINE_ID_PATTERN = r"[a-z]+_\d{2}"

DECISION_MEASURES = frozenset({"precision", "recall", "f1_score"})
"""What needs decisions; the other measures need scores."""

FileName = Annotated[str, with_fields("machine_type", "machine_id", "domain")]
ClipName = Annotated[str, with_fields("machine_type", "machine_id", "number", "domain", "label", "attributes")]


class Figure(Described):
    """One figure of a year's results: a measure, and the clips that it is taken over.

    Attributes
    ----------
    measure
        ``f1_ev`` is explained at :func:`offnote.official.f1_ev`.
    domain
        Only clips of this domain count; empty for both.
    normal
        Only normal clips of this domain count, but the anomalies of both.
    """

    measure: Literal["auc", "pauc", "precision", "recall", "f1_score", "f1_ev"]
    domain: str = ""
    normal: str = ""


class OfficialScore(Described):
    """The official score: which mean, of which figures, over all sections."""

    mean: Literal["arithmetic", "harmonic"]
    of: tuple[str, ...]


class GroundTruth(Described):
    """Where the evaluators keep the labels.

    Attributes
    ----------
    labels
        A table for each score file: folder and name, with the fields of the score files' names.
    domains
        The same for the domains; empty where names tell them.
    list
        The one file with the labels of all machines, which 2020 has instead.
    """

    labels: FileName = ""
    domains: FileName = ""
    list: str = ""


class Key(Described):
    """A key of a system's description in ``meta.yaml``.

    Attributes
    ----------
    means
        What it tells; it stands above the key as a comment.
    kind
        ``text``, or several in a list; or ``count``, a whole number.
    required
        It may not be null, as every other key may where it is not applicable.
    since
        The first year that has it.
    """

    means: str
    kind: Literal["text", "count"] = "text"
    required: bool = False
    since: int = 0


class Result(Described):
    """A result of a machine type in ``meta.yaml``, in percent: which mean over its sections, of which figure."""

    mean: Literal["arithmetic", "harmonic"]
    figure: str


class Package(Described):
    """What a submission holds beside its score and decision files.

    Attributes
    ----------
    clip
        Regular expression for the name of a test clip of the evaluation set, which tells no label.
    clip_name
        Such a name, with the fields ``{machine_id}``, ``{number}`` and perhaps ``{domain}``.
    description, complexity
        The keys of these two sections of ``meta.yaml``, of all years, in the template's order.
    external_datasets
        The first year that lists the data of others that were used.
    results
        The keys of each machine type's results, in the template's order.
    inferred_from
        The year whose template the keys are of, where the year's own was not seen.
    """

    clip: RegularExpression
    clip_name: ClipName
    description: dict[str, Key]
    complexity: dict[str, Key]
    external_datasets: int
    results: dict[str, Result]
    inferred_from: int | None = None


class DemoNames(Described):
    """What the clips of the demo set in the shape of this year are called, and what is in them.

    Attributes
    ----------
    train, test
        Paths of training clips, and of test clips that tell their label, with the fields ``{machine_type}``,
        ``{machine_id}``, ``{number}`` and perhaps ``{domain}``, ``{label}`` and ``{attributes}``.
    supplemental
        The same of supplemental clips; empty where a year has none.
    hide_attributes
        Whether the clips of some machine types do not tell their attributes.
    channels
        Of a clip: one microphone, or two.
    """

    train: ClipName
    test: ClipName
    supplemental: ClipName = ""
    hide_attributes: bool = False
    channels: int = 1


class Section(NamedTuple):
    """What one score file covers: a machine's section, or where a year parts the domains one domain of it."""

    machine_type: str
    machine_id: str
    domain: str = ""

    @property
    def machine(self) -> Machine:
        """Whose section it is."""
        return Machine(self.machine_type, self.machine_id)

    @property
    def number(self) -> str:
        """The section's two digits."""
        return self.machine_id[-2:]

    @property
    def order(self) -> tuple[str, str, str]:
        """The place in every table: by type, by domain, by number."""
        return self.machine_type, self.domain, self.machine_id


class Challenge(Described):
    r"""What a year's files are called and hold, and how they are judged.

    Attributes
    ----------
    year
        Such as 2022.
    scores, decisions
        File names, with the fields ``{machine_type}``, ``{machine_id}`` and perhaps ``{domain}``; decisions are empty
        where a year has none.
    clip
        Regular expression for the name of a test clip that tells its label.
    ground_truth
        Where the evaluators keep the labels of the evaluation set.
    domains
        Their names, in the order of the numbers that the ground truth has for them.
    max_fpr
        The false positive rate up to which pAUC looks.
    figures
        The figures of each section by name, in the order of their columns.
    official_score
        None where the year has none for a single system.
    first_shot
        Machine types of the evaluation set are new, and no setting may be tuned for one of them: all need the same.
    machines
        The machine IDs of each machine type, by set (development, evaluation).
    package
        What a submission holds; None where the year's file does not say.
    demo
        What the clips of a demo set of the year are called; None where the year's file does not say.

    Examples
    --------
    >>> challenge = load_challenge(2022)
    >>> challenge.parse("anomaly_score_fan_section_03_test.csv")
    Section(machine_type='fan', machine_id='section_03', domain='')
    >>> challenge.name(challenge.decisions, Section("fan", "section_03"))
    'decision_result_fan_section_03_test.csv'
    """

    year: int
    scores: FileName
    decisions: FileName = ""
    clip: RegularExpression
    ground_truth: GroundTruth
    domains: tuple[str, ...] = ()
    max_fpr: float
    figures: dict[str, Figure]
    official_score: OfficialScore | None = None
    first_shot: bool = False
    machines: dict[MachineSet, dict[str, tuple[str, ...]]]
    package: Package | None = None
    demo: DemoNames | None = None

    @model_validator(mode="after")
    def _check_what_is_named(self) -> Self:
        """Refuse a figure of an unknown domain, and an official score or a result of an unknown figure."""
        domains = {name for figure in self.figures.values() for name in (figure.domain, figure.normal) if name}
        figures = set(self.official_score.of) if self.official_score else set()
        figures |= {result.figure for result in self.package.results.values()} if self.package else set()
        strangers = sorted((domains - set(self.domains)) | (figures - self.figures.keys()))
        if strangers:
            raise ValueError(f"there is no domain or figure {strangers[0]!r}")
        return self

    def name(self, template: str, section: Section) -> str:
        """Return the name of a section's file."""
        return template.format(**section._asdict())

    def parse(self, name: str, template: str = "") -> Section | None:
        """Return which section a file is of, by default a score file; None where its name is another."""
        found = self._pattern(template or self.scores).fullmatch(name)
        return Section(**found.groupdict()) if found else None

    def owns(self, name: str, template: str) -> bool:
        """Tell whether a file's name begins with the template's first words, in whatever case, however it goes on.

        Examples
        --------
        >>> challenge = load_challenge(2026)
        >>> [challenge.owns(name, challenge.scores) for name in ("Anomaly_Scores.CSV", "result.csv")]
        [True, False]
        """
        return name.casefold().startswith(template.partition("{")[0].rstrip("_"))

    def files_of(self, machine: Machine) -> list[Section]:
        """List the sections that a machine has a score file for: one, or one for each domain."""
        return [Section(*machine, domain) for domain in (self.domains if "{domain}" in self.scores else ("",))]

    def evaluated(self) -> list[Section]:
        """List the sections of the evaluation set, each of which a submission has a score file for, in their order."""
        parts = (part for machine in self.machines_of("evaluation") for part in self.files_of(machine))
        return sorted(parts, key=lambda part: part.order)

    def machines_of(self, kind: MachineSet) -> list[Machine]:
        """List the machines of the ``development`` or the ``evaluation`` set, in their order; none where unknown."""
        types = self.machines.get(kind, {})
        return sorted(Machine(name, machine_id) for name, ids in types.items() for machine_id in ids)

    def holds(self, kind: MachineSet, machine: Machine) -> bool:
        """Tell whether a machine is of the ``development`` or the ``evaluation`` set."""
        return machine.machine_id in self.machines.get(kind, {}).get(machine.machine_type, ())

    def sections_of(self, machine_type: str) -> set[str]:
        """Return the machine IDs of a machine type, of whichever set; none where the year does not know it."""
        return {machine_id for types in self.machines.values() for machine_id in types.get(machine_type, ())}

    def of_the_year(self, keys: Mapping[str, Key]) -> dict[str, Key]:
        """Return those keys of ``meta.yaml`` that the year has."""
        return {name: key for name, key in keys.items() if key.since <= self.year}

    @property
    def file(self) -> str:
        """The file that describes the year, for messages."""
        return f"config/datasets/{name_of(self.year)}.yaml"

    @property
    def lists_external_datasets(self) -> bool:
        """Tell whether ``meta.yaml`` lists the data of others that were used."""
        return self.package is not None and self.year >= self.package.external_datasets

    def _pattern(self, template: str) -> re.Pattern[str]:
        fields = {
            "machine_type": NAME_PATTERN,
            "machine_id": MACHINE_ID_PATTERN,
            "domain": "|".join(map(re.escape, self.domains)),
        }
        parts = re.split(r"\{(\w+)\}", template)
        return re.compile("".join(f"(?P<{p}>{fields[p]})" if i % 2 else re.escape(p) for i, p in enumerate(parts)))


@cache
def load_challenge(year: int) -> Challenge:
    """Read the description of a year.

    Raises
    ------
    InputError
        There is none.

    Examples
    --------
    >>> load_challenge(2021).official_score.of
    ('auc', 'pauc')
    """
    if year not in years():
        raise InputError(f"there is no year {year} here; choose one of {', '.join(map(str, years()))}")
    name = name_of(year)
    try:
        return Challenge(year=year, machines=describe(name).machines, **stated_challenge(name))
    except ValidationError as error:
        raise mistake_in(path_of(name), error, ("challenge",)) from error


def challenge_of(settings: Settings) -> Challenge:
    """Return the year that a run takes part in.

    Raises
    ------
    InputError
        ``submission.year`` is empty, or there is no such year.
    """
    if settings.submission.year is None:
        raise InputError('submission.year: say for which year, as in --config "submission={year: 2024}"')
    try:
        return load_challenge(settings.submission.year)
    except InputError as error:
        raise InputError(f"submission.year: {error}") from None


def require_set(challenge: Challenge, kind: MachineSet) -> None:
    """Make sure that the machines of a set are known, as those of the evaluation set are not in a young year.

    Raises
    ------
    InputError
        They are not.
    """
    if not challenge.machines.get(kind):
        raise InputError(f"{challenge.file}: machines.{kind} is empty; say which there are")
