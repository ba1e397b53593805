"""A first sample sheet for any folder of recordings, guessed from the names of folders and files.

It is a proposal: a person looks it over before a detector learns from it.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import starmap, zip_longest
from pathlib import Path

from offnote.clips import Clip, write_clips
from offnote.config import RESERVED_NAMES
from offnote.datasets import find_recordings, refuse_unusable
from offnote.errors import InputError

NORMAL_WORDS = frozenset({"normal", "normals", "healthy", "good", "ok", "okay", "intact", "nominal"})
ANOMALY_WORDS = frozenset(
    {"abnormal", "abnormals", "abnormality", "abnormalities", "anomaly", "anomalies", "anomalous"}
    | {"fault", "faults", "faulty", "defect", "defects", "defective"}
    | {"bad", "broken", "damage", "damages", "damaged", "failure", "failures", "failed", "flaw", "flaws", "flawed"}
    | {"disturbance", "disturbances", "disturbed", "harmed", "impaired", "malfunction", "malfunctions", "worn"}
    | {"ng", "nok"}
)
OPPOSITE = {"normal": "anomaly", "anomaly": "normal"}
PLAIN_WORDS = dict.fromkeys(NORMAL_WORDS, "normal") | dict.fromkeys(ANOMALY_WORDS, "anomaly")
LABEL_WORDS = (
    {f"{prefix}{word}": OPPOSITE[label] for prefix in ("no", "non", "not", "un") for word, label in PLAIN_WORDS.items()}
    | {f"{word}{suffix}": "normal" for word in ANOMALY_WORDS for suffix in ("less", "free")}
    | PLAIN_WORDS
)
SPLIT_WORDS = (
    dict.fromkeys(("train", "training", "val", "valid", "validation"), "train")
    | dict.fromkeys(("test", "testing", "eval", "evaluation"), "test")
    | {"supplemental": "supplemental"}
)
# After "test", words for what a machine is tested on.
RIG_WORDS = frozenset({"bed", "bench", "cell", "rig", "rigs", "setup", "stand"})
NEGATIONS = frozenset({"not", "no", "non", "without", "un"})
# Beside these words, "new" still means new recordings, and not a new machine.
RECORDING_WORDS = frozenset(
    {"audio", "audios", "clip", "clips", "data", "file", "files", "measurement", "measurements"}
    | {"record", "recorded", "recording", "recordings", "records", "sample", "samples", "sound", "sounds"}
    | {"flac", "ogg", "wav", "wave", "waves", "wavs"}
)
CAMEL_CASE = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# AB as a word of its own, and no end of a serial number such as SN12AB or c30ab.
AB = r"(?:(?:(?<![A-Za-z0-9])[0-9]*[Aa]|(?<=[a-z])A)[Bb]|(?<![A-Z])Ab)[^A-Za-z0-9]+"
AB_NORMAL = re.compile(AB + r"(?i:normal)")
AB_AND_WORD = re.compile(AB + r"(?!(?i:normal))[0-9]*[A-Za-z]")
ABNORMAL = re.compile(r"(?:Ab|(?<![A-Z])AB|(?<![A-Za-z])ab)(?i:normal)")
# Plain where neither AB_NORMAL nor ABNORMAL, which come first, takes it.
PLAIN_NORMAL = rf"(?i:normal|(?<![a-z])(?:{'|'.join(sorted(NORMAL_WORDS))})(?![a-z]))"
NORMAL = re.compile(f"{AB_NORMAL.pattern}|{ABNORMAL.pattern}|(?P<plain>{PLAIN_NORMAL})")
# With separators, or a time: eight digits alone may be a serial number.
DATE = re.compile(
    r"(?:19|20)\d\d(?:([-_.])[01]?\d\1[0-3]?\d(?:[T _-]\d\d(?:[-_.:h]?\d\d){0,2})?"
    r"|[01]\d[0-3]\d[T _-]?[0-2]\d(?:[-_.:h]?[0-5]\d){1,2})(?:Z|[+-]\d\d:?\d\d)?"
)
ID = re.compile(r"(?:id|section)_\d+", re.IGNORECASE)


@dataclass(frozen=True)
class _Guess:
    """What the names say about one recording."""

    path: str
    machine_type: str
    machine_id: str
    split: str
    label: str


def write_sheet(folder: Path, sheet: Path) -> list[Clip]:
    """Write a sample sheet for the recordings below `folder`.

    Parameters
    ----------
    folder
        Any folder of recordings.
    sheet
        The file to write; its paths will be relative to its own folder.

    Returns
    -------
    list of Clip
        What was written.

    Raises
    ------
    InputError
        There are no recordings, `sheet` is there already or cannot be written, or a folder on the way to the
        recordings has a name that cannot stand in a table.
    """
    if sheet.suffix != ".tsv":
        raise InputError(f"{sheet}: a sample sheet is tab-separated; give it a name that ends in .tsv")
    if sheet.exists():
        raise InputError(f"{sheet} is there already; remove it, or name another file with --output")
    clips = guess_clips(folder)
    above = os.path.relpath(folder.absolute(), sheet.parent.absolute())
    moved = [replace(clip, path=Path(os.path.normpath(Path(above, clip.path))).as_posix()) for clip in clips]
    for clip in moved:
        refuse_unusable(sheet.absolute().parent, clip.path)
    write_clips(sheet, sorted(moved, key=lambda clip: clip.order))
    return moved


def guess_clips(folder: Path) -> list[Clip]:
    """Guess machine, split and label of each recording below `folder` from its path.

    Words such as *normal* and *healthy*, or *abnormal* and *fault*, tell the label. Where a folder is named so and its
    neighbours are not, the neighbours are the opposite, and so are folders of their names elsewhere: *bearing* beside
    *healthy* is a fault, *baseline* beside *faulty* is normal, and beside both it is a fault. *AB normal* is abnormal,
    unless AB stands with other words, too, and so is a unit. Words such as *train* and *test* tell the split. The last
    other folders, but dates such as 2024-01-03 and 20240103_1430, name the machine type and ID. What names do not tell:

    * a machine with anomalies: as many normal clips are for testing as there are anomalies, half of them at most,
      spread evenly over the order of their names, which often is that of time, speed or load;
    * a machine with clips of unknown label beside normal ones: the normal ones train, the unknown ones are tested;
    * a machine with normal clips only, or of which nothing is known: the first three quarters train.
    """
    paths = find_recordings(folder)
    spelt = _abnormal_as_one_word(paths)
    level = _label_level(spelt)
    beside = {} if level is None else _beside_labels(spelt, level)
    guesses = [
        _guess(path, words, level, beside, folder.absolute().name) for path, words in zip(paths, spelt, strict=True)
    ]
    machines: dict[tuple[str, str], list[_Guess]] = {}
    for guess in guesses:
        machines.setdefault((guess.machine_type, guess.machine_id), []).append(guess)
    return [clip for members in machines.values() for clip in _split(members)]


def _guess(path: str, spelt: str, level: int | None, beside: Mapping[str, str], name: str) -> _Guess:
    *folders, file = path.split("/")
    words = spelt.split("/")
    label, split = _label(spelt), _first(map(_split_told, words))
    if not label and level is not None and level < len(folders) and not split:
        label = beside.get(words[level], "")
    telling = [
        folder
        for place, (folder, told) in enumerate(zip(folders, words, strict=False))
        if place != level and not (_label(told) or _split_told(told) or DATE.fullmatch(folder))
    ]
    found = ID.search(file)
    machine_id = found.group().lower() if found else telling.pop() if telling else "id_00"
    return _Guess(path, _name(telling[-1] if telling else name), _name(machine_id), split, label)


def _label_level(paths: Iterable[str]) -> int | None:
    """Return the depth of the folders whose names tell labels; None where none do."""
    depths = [depth for path in paths for depth, folder in enumerate(path.split("/")[:-1]) if _label(folder)]
    return max(set(depths), key=depths.count) if depths else None


def _beside_labels(paths: Iterable[str], level: int) -> dict[str, str]:
    """Return what the folders at a depth are that have a neighbour there whose name tells a label: its opposite."""
    folders = {tuple(path.split("/")[:-1]) for path in paths}
    neighbours: dict[tuple[str, ...], set[str]] = {}
    for folder in folders:
        if len(folder) > level:
            neighbours.setdefault(folder[:level], set()).add(folder[level])
    beside: dict[str, str] = {}
    for names in neighbours.values():
        told = {label for label in map(_label, names) if label}
        for name in names if told else ():
            label = "anomaly" if "normal" in told else "normal"
            beside[name] = "anomaly" if beside.get(name) == "anomaly" else label
    return beside


def _abnormal_as_one_word(paths: Sequence[str]) -> list[str]:
    """Return the paths with "abnormal" where they say "ab-normal", "AB_NORMAL" and the like.

    Unless AB is a unit, as AB_normal beside AB_leak is: AB with another word, after the same beginning and as deep in
    folders, and no plain normal there. Where nothing tells, it is abnormal: a unit without a normal clip is noticed,
    and a fault that is trained on is not.
    """
    # Places: how deep in folders, and after which beginning of a name.
    normal, others = set[tuple[int, str]](), set[tuple[int, str]]()
    for depth, name in {place for path in paths for place in enumerate(Path(path).with_suffix("").parts)}:
        normal |= {(depth, _before(found)) for found in NORMAL.finditer(name) if found["plain"]}
        others |= {(depth, _before(found)) for found in AB_AND_WORD.finditer(name)}
    units = others - normal

    def spelt(depth: int, name: str) -> str:
        def word(found: re.Match[str]) -> str:
            return found[0] if (depth, _before(found)) in units else " abnormal"

        return AB_NORMAL.sub(word, name)

    return ["/".join(starmap(spelt, enumerate(path.split("/")))) for path in paths]


def _before(found: re.Match[str]) -> str:
    return re.sub(r"[\W\d_]+$", "", found.string[: found.start()].lower())


def _label(path: str) -> str:
    """Return the label that the words tell, an anomaly's before all."""
    labels = {label for name in path.split("/") for label in _labels(name)}
    return max(labels, default="", key=("", "normal", "anomaly").index)


def _labels(name: str) -> Iterator[str]:
    """Yield the label of each word that tells one; "not" before it and "free" after it turn it round."""
    words = re.sub(r"\bfree (?:of|from)\b", "without", " ".join(_words(name))).split()
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        if label := LABEL_WORDS.get(word):
            turned = before in NEGATIONS or (label == "anomaly" and after == "free")
            yield OPPOSITE[label] if turned else label


def _split_told(name: str) -> str:
    """Return the split that a folder's or file's name tells: "new" only by itself, as a machine may be called so."""
    words = [word for word in _words(name) if not word.isdigit()]
    is_new = "new" in words and not set(words) - RECORDING_WORDS - {"new"}
    told = (
        SPLIT_WORDS.get(word)
        for word, after in zip_longest(words, words[1:])
        if not (word in ("test", "testing") and after in RIG_WORDS)
    )
    return _first(told) or ("test" if is_new else "")


def _words(text: str) -> list[str]:
    """Return the words of a name: NormalSound_IND has three, and NGSound two."""
    plain = CAMEL_CASE.sub(" ", ABNORMAL.sub(" abnormal", text))
    return re.findall(r"[a-z]+|[0-9]+", plain.lower())


def _first(found: Iterable[str | None]) -> str:
    return next((word for word in found if word), "")


def _name(text: str) -> str:
    """Turn a folder's name into one that can stand in a path of the results; two names never become one."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", plain).lstrip("_.-") or "machine"
    if name != text or name in RESERVED_NAMES:
        name += "_" + hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:4]
    return name


def _evenly(paths: Sequence[str], count: int) -> list[str]:
    return [paths[(2 * place + 1) * len(paths) // (2 * count)] for place in range(count)]


def _split(members: Sequence[_Guess]) -> list[Clip]:
    """Give every clip of a machine a split: the one its name tells, or one by the rules of :func:`guess_clips`."""
    split = {guess.path: guess.split for guess in members}
    open_ones = [guess for guess in members if not guess.split]
    normals = [guess.path for guess in open_ones if guess.label == "normal"]
    anomalies = [guess.path for guess in open_ones if guess.label == "anomaly"]
    unknown = [guess.path for guess in open_ones if not guess.label]
    split |= dict.fromkeys([*anomalies, *unknown], "test") | dict.fromkeys(normals, "train")
    if anomalies:
        split |= dict.fromkeys(_evenly(normals, min(len(anomalies), len(normals) // 2)), "test")
    elif not any(guess.split for guess in members) and not (normals and unknown):
        rest = normals or unknown
        split |= dict.fromkeys(rest, "test") | dict.fromkeys(rest[: -(-3 * len(rest) // 4)], "train")
    split |= {guess.path: "test" for guess in members if guess.label == "anomaly" and split[guess.path] == "train"}
    return [Clip(guess.path, guess.machine_type, guess.machine_id, split[guess.path], guess.label) for guess in members]
