"""Writing a submission: the folder ``task2``, the zip archive of it, and their checksums.

The archive has the same bytes whenever its content is the same: files in the order of their names, with one time and
one set of permissions, and stored as they are, because what compression yields depends on the release of zlib. The
files are small, so that nothing is lost.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import re
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offnote import config
from offnote.challenge import Challenge, Section, load_challenge, require_set
from offnote.clips import Machine
from offnote.descriptions import MachineSet
from offnote.errors import InputError
from offnote.files import replacing
from offnote.meta import AFFILIATION_KEYS, AUTHOR_KEYS, meta_mistakes, package_of, render_meta
from offnote.package_check import PDF, check_files
from offnote.package_files import META, REPORT, ROOT, SYSTEMS, Finding
from offnote.provenance import sha256_of

CHECKSUMS = "SHA256SUMS"
COMING = f".{CHECKSUMS}.coming"
CHECK = "check.txt"
MANIFEST = ".manifest.json"

TEAM = ("lastname", "institute", "authors")
"""What is said once of all systems."""

STATED = ("name", "abbreviation", "technical_report", "source_code")
"""What may be said of each system, besides the keys of its description and complexity."""

SHOWN = 20
"""Mistakes in a message."""


@dataclass(frozen=True)
class Measured:
    """What a system is made of, and what was measured of it.

    Attributes
    ----------
    sampling_rates
        Of the samples that the features are made from, in Hz.
    acoustic_features, machine_learning_method, front_end, aggregation_method
        As ``meta.yaml`` explains them.
    total_parameters
        Of the networks that one clip meets, together.
    results
        In percent, by machine type of the development set and by key, as :func:`results_in_percent` returns them.
    macs
        Multiply-accumulate operations for one clip; None where nobody counted them.
    seeds
        One for each training whose scores are put together; of two or more, the system is an ensemble.
    combination
        How the scores of these trainings become one, such as ``average``.
    """

    sampling_rates: Sequence[int]
    acoustic_features: str
    machine_learning_method: str
    total_parameters: int
    results: Mapping[str, Mapping[str, float]]
    front_end: str | None = None
    aggregation_method: str | None = None
    macs: int | None = None
    seeds: Sequence[int | str] = ()
    combination: str | None = None


@dataclass(frozen=True)
class System:
    """One system of a submission.

    Attributes
    ----------
    stated
        ``name``, ``abbreviation``, and where there is something to say ``technical_report`` (the path of a PDF file),
        ``source_code``, ``external_datasets`` and keys of ``system.description`` and ``system.complexity``, which go
        before what was measured.
    measured
        What goes into ``meta.yaml`` besides.
    scores
        The score of each test clip by its name, for each section of the evaluation set. Higher = more anomalous.
    decisions
        Likewise, 1 or True for an anomaly; left out in a year that has none.
    """

    stated: Mapping[str, Any]
    measured: Measured
    scores: Mapping[Section, Mapping[str, float]]
    decisions: Mapping[Section, Mapping[str, int | bool]] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """What was written: the archive, the file of checksums, the files below ``task2``, and what to look at yet."""

    archive: Path
    checksums: Path
    files: list[Path]
    warnings: list[Finding]


def labels_of(lastname: str | None, institute: str | None, systems: int) -> list[str]:
    """Return the name of each system's folder.

    Raises
    ------
    InputError
        Last name and institute cannot name it, or there are too few or too many systems.

    Examples
    --------
    >>> labels_of("Lastname", "Institute", 2)
    ['Lastname_Institute_task2_1', 'Lastname_Institute_task2_2']
    """
    if not 1 <= systems <= SYSTEMS:
        raise InputError(f"the submission has {systems} systems; a team may send one to {SYSTEMS}")
    for mistake in _name_mistakes(lastname, institute):
        raise InputError(mistake)
    return [f"{lastname}_{institute}_task2_{number}" for number in range(1, systems + 1)]


def _name_mistakes(lastname: str | None, institute: str | None) -> Iterator[str]:
    for key, value in (("lastname", lastname), ("institute", institute)):
        if not value or not re.fullmatch("[A-Za-z0-9-]+", value):
            said = "is not stated" if not value else f"is {value!r}"
            yield f"submission.{key}: {said}; it is a part of the submission's name: letters, digits and hyphens"


def planned_files(year: int, labels: Sequence[str], reports: Sequence[bool]) -> list[str]:
    """List the files that :func:`write_submission` writes into its folder for a complete evaluation set.

    Parameters
    ----------
    year
        Such as 2022.
    labels
        As :func:`labels_of` returns them.
    reports
        For each system, whether it has a technical report.

    Examples
    --------
    >>> planned_files(2026, ["A_B_task2_1"], [False])[:4]
    ['A_B_task2.zip', 'SHA256SUMS', 'A_B_task2_1.manifest.json', 'task2/A_B_task2_1/A_B_task2_1.meta.yaml']
    """
    challenge = load_challenge(year)
    templates = [template for template in (challenge.scores, challenge.decisions) if template]
    tables = [challenge.name(template, section) for section in challenge.evaluated() for template in templates]
    package = [
        f"{ROOT}/{label}/{name}"
        for label, report in zip(labels, reports, strict=True)
        for name in (f"{label}{META}", *([f"{label}{REPORT}"] if report else []), *tables)
    ]
    return [_archive(labels), CHECKSUMS, *(f"{label}{MANIFEST}" for label in labels), *package]


def stated_once(section: config.Submission) -> dict[str, Any]:
    """Return what the configuration says once of all systems."""
    return {key: value for key in TEAM if (value := getattr(section, key)) is not None}


def stated_of(section: config.Submission) -> dict[str, Any]:
    """Return what the configuration says of one system, without what it leaves open."""
    stated = section.model_dump(include={*STATED, "external_datasets"})
    return {key: value for key, value in stated.items() if value is not None} | section.description


def require_stated(challenge: Challenge, systems: Mapping[str, config.Submission]) -> None:
    """Make sure that what the configuration says makes a ``meta.yaml`` without mistakes, before anything is measured.

    Parameters
    ----------
    challenge
        The year.
    systems
        What is said of each run that is sent.

    Raises
    ------
    InputError
        Lists everything that is wrong, key by key.
    """
    found = {run: list(_stated_mistakes(section, challenge)) for run, section in systems.items()}
    runs: dict[str, list[str]] = {}
    for run, texts in found.items():
        for text in texts:
            runs.setdefault(text, []).append(run)
    # What is wrong everywhere is told once, without a name.
    mistakes = [
        text if len(named) == len(systems) else f"run {name}: {text}" for text, named in runs.items() for name in named
    ]
    short = [section.abbreviation for section in systems.values() if section.abbreviation is not None]
    mistakes += [
        f"submission.abbreviation: {name!r} is that of {short.count(name)} systems; give each its own"
        for name in short
        if short.count(name) > 1
    ]
    if mistakes:
        raise InputError(_listed("the submission would be wrong", list(dict.fromkeys(mistakes))))


def _stated_mistakes(section: config.Submission, challenge: Challenge) -> Iterator[str]:
    package = package_of(challenge)
    known = challenge.of_the_year(package.description | package.complexity)
    yield from (f"submission.description.{text}" for text in _strangers(section.description, known, challenge))
    if section.external_datasets is not None and not challenge.lists_external_datasets:
        yield f"submission.external_datasets: there is no such key in {challenge.year}; leave it empty"
    types = challenge.machines.get("development", {})
    anything = Measured([1], "-", "-", 0, {name: dict.fromkeys(package.results, 50.0) for name in types})
    stated = stated_once(section) | stated_of(section)
    yield from _name_mistakes(section.lastname, section.institute)
    label = labels_of("Lastname", "Institute", 1)[0]  # Any will do.
    meta = _meta(label, stated, anything, challenge)
    meta["submission"] = {key: value for key, value in meta["submission"].items() if value is not None}
    for text in meta_mistakes(meta, label, challenge):
        # The configuration has the keys of `system` in the section `submission`, both tables in one.
        text = re.sub(r"^system\.complexity\.", "system.description.", text)
        yield f"submission.{text.removeprefix('system.')}" if text.startswith("system.") else text
    if section.technical_report is not None:
        yield from _report_mistakes(section.technical_report)


def _report_mistakes(path: str) -> Iterator[str]:
    later = "leave it empty to add it later"
    try:
        with Path(path).open("rb") as stream:
            if stream.read(len(PDF)) != PDF:
                yield f"submission.technical_report: {path} is no PDF file; {later}"
    except OSError as error:
        yield f"submission.technical_report: {path} cannot be read ({error.strerror}); {later}"


def require_machines(run: str, machines: Collection[Machine], challenge: Challenge, kind: MachineSet) -> None:
    """Make sure that a run has every machine of the ``development`` or the ``evaluation`` set.

    Raises
    ------
    InputError
        It lacks one, or the year's file names none.
    """
    require_set(challenge, kind)
    for machine in challenge.machines_of(kind):
        if machine not in machines:
            raise InputError(
                f"run {run}: has no {machine} with training clips, a machine of the {kind} set of {challenge.year}; "
                "a submission needs all of them: see dataset.path and dataset.machines"
            )


def write_submission(
    folder: Path,
    year: int,
    stated: Mapping[str, Any],
    systems: Sequence[System],
    beside: Mapping[str, bytes] | None = None,
) -> Written:
    """Write a submission that passes :func:`offnote.package_check.check_submission`.

    Parameters
    ----------
    folder
        Where ``task2``, ``<Lastname>_<Institute>_task2.zip`` and ``SHA256SUMS`` are written; made where missing. An
        earlier submission, as its ``SHA256SUMS`` tells, is replaced.
    year
        Such as 2022.
    stated
        ``lastname`` (of the corresponding author), ``institute``, ``authors``, and what holds for every system unless
        it states otherwise.
    systems
        One to four, in the order of their numbers.
    beside
        Further files to write beside the archive, by name, with checksums of their own.

    Raises
    ------
    InputError
        A key is unknown, the submission would be wrong, or ``task2`` holds files of somebody else's. Then nothing is
        written, and an earlier submission is left as it is.
    """
    challenge = load_challenge(year)
    _refuse_unknown(stated, (*TEAM, *_stated_keys(challenge)), challenge)
    labels = labels_of(stated.get("lastname"), stated.get("institute"), len(systems))
    files: dict[str, bytes] = {}
    for label, system in zip(labels, systems, strict=True):
        _refuse_unknown(system.stated, _stated_keys(challenge), challenge)
        files |= _system_files(label, dict(stated) | dict(system.stated), system, challenge)
    check = check_files(files, year)
    if check.mistakes:
        raise InputError(_listed("the submission would be wrong, so it is not written", check.mistakes))
    archive = _archive(labels)
    package = sorted(files)
    files |= {archive: pack(files), **(beside or {})}
    outdated = _outdated(folder, files)
    sums = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    # Beside those of earlier interruptions, so that after one more it is known what is nobody else's.
    interrupted = "".join(
        f"{found}  {name}\n" for name, every in _checksums(folder / COMING).items() for found in sorted(every)
    )
    with replacing(folder / COMING) as temporary:
        temporary.write_text(interrupted + sums, encoding="utf-8")
    for name, content in files.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
    for path in outdated:
        path.unlink()
        if path.parent != folder and not any(path.parent.iterdir()):
            path.parent.rmdir()
    # Last, so that until then the checksums tell what the earlier submission consisted of.
    with replacing(folder / CHECKSUMS) as temporary:
        temporary.write_text(sums, encoding="utf-8")
    (folder / COMING).unlink()
    return Written(
        folder / archive,
        folder / CHECKSUMS,
        [folder / name for name in package],
        check.warnings,
    )


def results_in_percent(types: Iterable[Mapping[str, Any]], challenge: Challenge) -> dict[str, dict[str, float]]:
    """Return the results on the development set as ``meta.yaml`` has them.

    Parameters
    ----------
    types
        As in :attr:`offnote.official.Evaluation.types`: the means of each machine type, as fractions.
    challenge
        The year.

    Raises
    ------
    InputError
        A machine type of the development set is missing.

    Examples
    --------
    >>> means = {"arithmetic_mean": {"auc": 0.75, "pauc": 0.5}, "harmonic_mean": {}}
    >>> types = [{"machine_type": name} | means for name in load_challenge(2020).machines["development"]]
    >>> results_in_percent(types, load_challenge(2020))["fan"]
    {'averaged_auc': 75.0, 'averaged_pauc': 50.0}
    """
    rows = {row["machine_type"]: row for row in types}
    wanted = challenge.machines.get("development", {})
    if missing := [name for name in wanted if name not in rows]:
        raise InputError(
            f"there are no results of {', '.join(missing)}; a submission to {challenge.year} tells those of the whole "
            "development set"
        )
    keys = package_of(challenge).results.items()
    return {
        # Rounded, as a harmonic mean is never below the machine epsilon.
        name: {key: round(100.0 * rows[name][f"{result.mean}_mean"][result.figure], 9) for key, result in keys}
        for name in wanted
    }


def pack(files: Mapping[str, bytes]) -> bytes:
    """Pack files into a zip archive, the same one whenever names and contents are the same.

    Examples
    --------
    >>> pack({"b": b"1", "a": b"2"}) == pack({"a": b"2", "b": b"1"})
    True
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in sorted(files):
            # The earliest time that an archive knows.
            member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_STORED
            # A plain file of a Unix system that everybody may read, whatever system this one is.
            member.create_system = 3
            member.external_attr = 0o100644 << 16
            archive.writestr(member, files[name])
    return stream.getvalue()


def _archive(labels: Sequence[str]) -> str:
    return f"{labels[0].removesuffix('_1')}.zip"


def _stated_keys(challenge: Challenge) -> tuple[str, ...]:
    young = ("external_datasets",) if challenge.lists_external_datasets else ()
    package = package_of(challenge)
    return (*STATED, *young, *challenge.of_the_year(package.description | package.complexity))


def _strangers(stated: Iterable[str], known: Collection[str], challenge: Challenge) -> Iterator[str]:
    """Yield what is wrong with each key that is not known."""
    for key in stated:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            yield f"{key}: there is no such key in {challenge.year}; {hint}"


def _refuse_unknown(stated: Mapping[str, Any], known: Collection[str], challenge: Challenge) -> None:
    for text in _strangers(stated, known, challenge):
        raise InputError(text)


def _listed(said: str, mistakes: Sequence[object]) -> str:
    """Return one sentence, or a list below it."""
    if len(mistakes) == 1:
        return f"{said}: {mistakes[0]}"
    shown = "".join(f"\n  {mistake}" for mistake in mistakes[:SHOWN])
    more = f"\n  and {len(mistakes) - SHOWN} more" if len(mistakes) > SHOWN else ""
    return f"{said}:{shown}{more}"


def _system_files(label: str, stated: Mapping[str, Any], system: System, challenge: Challenge) -> dict[str, bytes]:
    seeds = system.measured.seeds
    remarks = [f"Trained with the seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}."] if seeds else []
    meta = _meta(label, stated, system.measured, challenge)
    files = {f"{label}{META}": render_meta(meta, challenge, remarks).encode("utf-8")}
    for section, scores in system.scores.items():
        files[challenge.name(challenge.scores, section)] = _table(
            (clip, repr(float(score))) for clip, score in scores.items()
        )
    for section, decisions in system.decisions.items() if challenge.decisions else ():
        files[challenge.name(challenge.decisions, section)] = _table(
            (clip, _decision(clip, decision)) for clip, decision in decisions.items()
        )
    if report := stated.get("technical_report"):
        files[f"{label}{REPORT}"] = _read_report(Path(report))
    return {f"{ROOT}/{label}/{name}": content for name, content in files.items()}


def _table(rows: Iterable[tuple[str, str]]) -> bytes:
    return "".join(f"{clip},{value}\n" for clip, value in sorted(rows)).encode("utf-8")


def _decision(clip: str, decision: int | bool) -> str:
    if decision not in (0, 1):
        raise InputError(f"the decision on the clip {clip} is {decision!r}; it must be 0 or 1")
    return "1" if decision else "0"


def _read_report(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"submission.technical_report: {path} cannot be read ({error.strerror})") from error


def _meta(label: str, stated: Mapping[str, Any], measured: Measured, challenge: Challenge) -> dict[str, Any]:
    """Put together what ``meta.yaml`` holds, in the order of the year's template."""
    package = package_of(challenge)
    ensemble = len(measured.seeds) > 1
    own = {
        "input_sampling_rate": ", ".join(f"{rate / 1000:g} kHz" for rate in measured.sampling_rates),
        "front_end": measured.front_end,
        "acoustic_features": measured.acoustic_features,
        "machine_learning_method": measured.machine_learning_method,
        "aggregation_method": measured.aggregation_method,
        "ensemble_method_subsystem_count": len(measured.seeds) if ensemble else None,
        "decision_making": measured.combination if ensemble else None,
    }
    complexity = {
        "total_parameters": int(measured.total_parameters),
        "MACS": None if measured.macs is None else int(measured.macs),
    }
    description = own | {key: stated[key] for key in package.description if key in stated}
    complexity |= {key: stated[key] for key in package.complexity if key in stated}
    young = challenge.lists_external_datasets
    authors = stated.get("authors")
    return {
        "submission": {
            "label": label,
            "name": stated.get("name"),
            "abbreviation": stated.get("abbreviation"),
            "authors": list(map(_author, authors)) if isinstance(authors, list | tuple) else authors,
        },
        "system": {
            "description": {key: description.get(key) for key in challenge.of_the_year(package.description)},
            "complexity": {key: complexity.get(key) for key in challenge.of_the_year(package.complexity)},
            **({"external_datasets": stated.get("external_datasets") or None} if young else {}),
            "source_code": stated.get("source_code"),
        },
        "results": {
            "development_dataset": {
                machine_type: {key: float(value) for key, value in results.items()}
                for machine_type, results in measured.results.items()
            }
        },
    }


def _author(author: Any) -> Any:
    """Put the keys of an author into the template's order; what is not as it should be is left to the check."""
    if not isinstance(author, Mapping):
        return author
    ordered = _ordered(author, (*AUTHOR_KEYS[:-1], "corresponding", AUTHOR_KEYS[-1]))
    if isinstance(affiliation := ordered.get("affiliation"), Mapping):
        ordered["affiliation"] = _ordered({"department": None} | dict(affiliation), AFFILIATION_KEYS)
    return ordered


def _ordered(values: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    first = {key: values[key] for key in order if key in values}
    return first | {key: value for key, value in values.items() if key not in first}


def _outdated(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """List the files of an earlier submission, or of one that was interrupted, that this one does not have.

    Raises
    ------
    InputError
        A file below ``task2`` is of neither, or was changed since: it would be lost, or taken for a part of this one.
    """
    earlier, interrupted = _checksums(folder / CHECKSUMS), _checksums(folder / COMING)
    beside = [path for path in sorted(folder.glob("*")) if path.name in earlier or path.name in interrupted]
    below = [path for path in sorted((folder / ROOT).rglob("*")) if not path.is_dir()]
    outdated = []
    for path in (*beside, *below):
        name = path.relative_to(folder).as_posix()
        own = earlier.get(name, set()) | interrupted.get(name, set())
        own |= {hashlib.sha256(files[name]).hexdigest()} if name in files else set()
        if sha256_of(path) not in own:
            raise InputError(
                f"{path}: is not of this submission, nor as an earlier one left it; move it elsewhere (what it is to "
                "say is stated in the section submission of the configuration)"
            )
        if name not in files:
            outdated.append(path)
    return outdated


def _checksums(path: Path) -> dict[str, set[str]]:
    """Read a file of checksums: those that can be read, by the name of their file."""
    if not path.is_file():
        return {}
    rows = (line.split("  ", 1) for line in path.read_text(encoding="utf-8", errors="replace").splitlines())
    sums: dict[str, set[str]] = {}
    for row in rows:
        if len(row) == 2:
            sums.setdefault(row[1], set()).add(row[0])
    return sums
