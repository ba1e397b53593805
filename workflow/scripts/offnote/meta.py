"""The description of a system in a submission, ``meta.yaml``: reading, checking and writing it.

The keys of a year stand under ``challenge.package`` in its file in ``config/datasets``.
"""

from __future__ import annotations

import difflib
import math
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from offnote.challenge import Challenge, Key, Package
from offnote.config_files import repeated_keys
from offnote.errors import InputError

ABBREVIATION = 10
"""Characters of an abbreviated name."""

LARGEST_META = 2**20
"""Bytes of a description that is still read; reading YAML takes long."""

SHOWN = reprlib.Repr()
"""Shows the beginning of a value, and of lists within a list only that they are there: aliases make them endless."""
SHOWN.maxlevel = 1
SHOWN.maxstring = SHOWN.maxother = 60

SUBMISSION_KEYS = ("label", "name", "abbreviation", "authors")
AUTHOR_KEYS = ("lastname", "firstname", "email", "affiliation")
AFFILIATION_KEYS = ("institution", "department", "location")


def package_of(challenge: Challenge) -> Package:
    """Return what a submission of the year holds.

    Raises
    ------
    InputError
        The year's file does not say.
    """
    if challenge.package is None:
        raise InputError(f"{challenge.file}: does not say what a submission holds; add challenge.package")
    return challenge.package


def read_meta(content: bytes) -> Any:
    """Read the description of a system.

    Raises
    ------
    InputError
        It is not YAML in UTF-8, states a key twice, or is far too large.
    """
    if len(content) > LARGEST_META:
        raise InputError(f"has {len(content)} bytes, more than any description of a system")
    try:
        text = content.decode("utf-8")
        repeated = next(iter(repeated_keys(text)), "")
        meta = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"is not YAML in UTF-8 ({' '.join(str(error).split())})") from error
    if repeated:
        # YAML keeps the last of them without a word.
        raise InputError(f"the key {repeated!r} stands twice; keep one of them")
    return meta


def meta_mistakes(meta: Any, label: str, challenge: Challenge) -> Iterator[str]:
    """Yield everything that is wrong with the description of a system.

    Parameters
    ----------
    meta
        What the YAML file holds.
    label
        The name of the system's folder.
    challenge
        The year.
    """
    package = package_of(challenge)
    keys = _Keys(f" (inferred from {package.inferred_from}'s template)" if package.inferred_from else "")
    top = keys.of(meta, "", ("submission", "system", "results"))
    _check_names(keys, keys.below(top, "submission", "", SUBMISSION_KEYS), label)
    young = ("external_datasets",) if challenge.lists_external_datasets else ()
    system = keys.below(top, "system", "", ("description", "complexity", *young, "source_code"))
    for name, table in (("description", package.description), ("complexity", package.complexity)):
        wanted = challenge.of_the_year(table)
        stated = keys.below(system, name, "system", tuple(wanted))
        for key, described in wanted.items():
            if key in stated:
                keys.check(f"system.{name}.{key}", stated[key], described)
    if "source_code" in system:
        keys.check("system.source_code", system["source_code"], Key(means=""))
    if young and "external_datasets" in system:
        _check_datasets(keys, system["external_datasets"])
    _check_results(keys, keys.below(top, "results", "", ("development_dataset",)), challenge, package)
    yield from keys.mistakes


class _Keys:
    """Collects what is wrong with keys and their values."""

    def __init__(self, inferred: str) -> None:
        self.inferred = inferred
        self.mistakes: list[str] = []

    def of(self, value: Any, above: str, required: Sequence[str], optional: Sequence[str] = ()) -> dict[Any, Any]:
        """Return a mapping whose keys are checked; an empty one where it is none."""
        prefix = f"{above}." if above else ""
        if not isinstance(value, Mapping):
            self.mistakes.append(f"{above or 'the file'}: must hold the keys {', '.join(required)}")
            return {}
        known = (*required, *optional)
        self.mistakes += [f"{prefix}{key}: is missing{self.inferred}" for key in required if key not in value]
        for key in value:
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                self.mistakes.append(f"{prefix}{key}: there is no such key in the template{self.inferred}{hint}")
        return dict(value)

    def below(self, values: Mapping[Any, Any], name: str, above: str, required: Sequence[str]) -> dict[Any, Any]:
        """Return the mapping at a key, checked as in :meth:`of`; where the key is missing, that was said already."""
        return self.of(values[name], f"{above}.{name}".lstrip("."), required) if name in values else {}

    def check(self, place: str, value: Any, key: Key) -> None:
        """Check the value of a key."""
        if value is None:
            if key.required:
                self.mistakes.append(f"{place}: may not be null")
        elif key.kind == "count":
            if not _is_number(value) or value < 0 or value != math.floor(value):
                self.mistakes.append(f"{place}: {_show(value)} is no whole number, 0 or more")
        elif not (_is_text(value) or (isinstance(value, list) and value and all(map(_is_text, value)))):
            also = "" if key.required else "; where it is not applicable, write !!null"
            self.mistakes.append(f"{place}: {_show(value)} is no text{also}")

    def text(self, place: str, values: Mapping[Any, Any], name: str) -> str:
        """Check a key that needs a text, and return it; an empty one where it is none."""
        value = values.get(name, "")
        if name in values and not _is_text(value):
            self.mistakes.append(f"{place}.{name}: {_show(value)} is no text")
        return value if isinstance(value, str) else ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _show(value: Any) -> str:
    try:
        return "!!null" if value is None else SHOWN.repr(value)
    except ValueError:
        return "a number of thousands of digits"


def _check_names(keys: _Keys, submission: Mapping[Any, Any], label: str) -> None:
    stated = keys.text("submission", submission, "label")
    if stated and stated != label:
        keys.mistakes.append(f"submission.label: {stated!r} is not the folder's name, {label!r}")
    keys.text("submission", submission, "name")
    abbreviation = keys.text("submission", submission, "abbreviation")
    if len(abbreviation) > ABBREVIATION:
        keys.mistakes.append(
            f"submission.abbreviation: {abbreviation!r} has {len(abbreviation)} characters; {ABBREVIATION} are allowed"
        )
    authors = submission.get("authors")
    if "authors" not in submission:
        return
    if not isinstance(authors, list) or not authors:
        keys.mistakes.append("submission.authors: must be a list of at least one author")
        return
    for number, author in enumerate(authors):
        _check_author(keys, author, f"submission.authors[{number}]")
    corresponding = sum(isinstance(author, Mapping) and author.get("corresponding") is True for author in authors)
    if corresponding != 1:
        keys.mistakes.append(f"submission.authors: {corresponding} of them are corresponding; one must be")


def _check_author(keys: _Keys, author: Any, place: str) -> None:
    if not isinstance(author, Mapping):
        keys.mistakes.append(f"{place}: must hold the keys {', '.join(AUTHOR_KEYS)}")
        return
    stated = keys.of(author, place, AUTHOR_KEYS, ("corresponding",))
    for name in ("lastname", "firstname"):
        keys.text(place, stated, name)
    email = keys.text(place, stated, "email")
    if email.strip() and not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        keys.mistakes.append(f"{place}.email: {email!r} is no address")
    if not isinstance(stated.get("corresponding", False), bool):
        keys.mistakes.append(f"{place}.corresponding: {_show(stated['corresponding'])} is neither true nor false")
    if "affiliation" not in stated:
        return
    affiliations = stated["affiliation"] if isinstance(stated["affiliation"], list) else [stated["affiliation"]]
    for affiliation in affiliations or [None]:
        inner = f"{place}.affiliation"
        if not isinstance(affiliation, Mapping):
            keys.mistakes.append(f"{inner}: must hold the keys institution, department, location")
            continue
        named = keys.of(affiliation, inner, ("institution", "location"), ("department",))
        keys.text(inner, named, "institution")
        keys.text(inner, named, "location")
        if "department" in named:
            keys.check(f"{inner}.department", named["department"], Key(means=""))


def _check_datasets(keys: _Keys, datasets: Any) -> None:
    if datasets is None:
        return
    if not isinstance(datasets, list):
        keys.mistakes.append("system.external_datasets: must be a list of data sets, each with name and url, or !!null")
        return
    for number, dataset in enumerate(datasets):
        place = f"system.external_datasets[{number}]"
        if not isinstance(dataset, Mapping):
            keys.mistakes.append(f"{place}: must hold the keys name, url")
            continue
        named = keys.of(dataset, place, ("name", "url"))
        for name in filter(named.__contains__, ("name", "url")):
            keys.check(f"{place}.{name}", named[name], Key(means=""))


def _check_results(keys: _Keys, stated: Mapping[Any, Any], challenge: Challenge, package: Package) -> None:
    place = "results.development_dataset"
    types = tuple(challenge.machines.get("development", {}))
    by_type = keys.below(stated, "development_dataset", "results", types)
    percentages = []
    for machine_type in filter(by_type.__contains__, types):
        results = keys.below(by_type, machine_type, place, tuple(package.results))
        for name in filter(results.__contains__, package.results):
            value = results[name]
            if not _is_number(value) or not 0 <= value <= 100:
                keys.mistakes.append(f"{place}.{machine_type}.{name}: {_show(value)} is no percentage, 0 to 100")
            else:
                percentages.append(value)
    if percentages and max(percentages) <= 1:
        keys.mistakes.append(f"{place}: all results are at most 1; give them in percent, not as fractions")


# Writing it.

COMMENTS = {
    "submission": "Who sends what.",
    "submission.label": "The names of the folder and of the files in it begin with it.",
    "submission.name": "For tables with room.",
    "submission.abbreviation": f"For tables without, at most {ABBREVIATION} characters.",
    "submission.authors": "In their order; one of them is corresponding.",
    "system": "How the system works. What does not apply is !!null.",
    "system.external_datasets": "Data of others that were used.",
    "system.source_code": "Address of the code.",
    "results": "Results on the development set in percent, for each machine type.",
}


def render_meta(meta: Mapping[str, Any], challenge: Challenge, remarks: Sequence[str] = ()) -> str:
    """Write the description of a system as commented YAML; the same content gives the same text.

    Parameters
    ----------
    meta
        What :func:`read_meta` is to read back, in the template's order.
    challenge
        The year, whose keys are explained.
    remarks
        Lines for the head of the file.
    """
    package = package_of(challenge)
    comments = COMMENTS | {
        f"system.{name}.{key}": described.means
        for name, table in (("description", package.description), ("complexity", package.complexity))
        for key, described in table.items()
    }
    head = [f"A system for DCASE {challenge.year} Task 2."]
    if package.inferred_from:
        head.append(f"The template of {challenge.year} was not seen; the keys are those of {package.inferred_from}.")
    return "\n".join((*(f"# {line}" for line in (*head, *remarks)), *_lines(meta, "", "", comments))) + "\n"


def _lines(values: Mapping[str, Any], above: str, indent: str, comments: Mapping[str, str]) -> Iterator[str]:
    for key, value in values.items():
        place = f"{above}.{key}" if above else key
        if place in comments:
            yield f"{indent}# {comments[place]}"
        if isinstance(value, Mapping) and value:
            yield f"{indent}{_scalar(key)}:"
            yield from _lines(value, place, f"{indent}  ", comments)
        elif isinstance(value, list) and value and all(isinstance(item, Mapping) and item for item in value):
            yield f"{indent}{_scalar(key)}:"
            for item in value:
                first, *rest = _lines(item, place, f"{indent}    ", {})
                yield f"{indent}  - {first.lstrip()}"
                yield from rest
        else:
            yield f"{indent}{_scalar(key)}: {_scalar(value)}"


def _scalar(value: Any) -> str:
    r"""Write a value on one line.

    >>> [_scalar(value) for value in (None, "yes", "k-NN", 62.5, ["a", "b: c"], "two\nlines")]
    ['!!null', "'yes'", 'k-NN', '62.5', "[a, 'b: c']", '"two\\nlines"']
    """
    if value is None:
        return "!!null"
    texts = value if isinstance(value, list) else [value]
    style = '"' if any(isinstance(text, str) and not text.isprintable() for text in texts) else None
    text = yaml.safe_dump(value, default_style=style, default_flow_style=True, allow_unicode=True, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...")
