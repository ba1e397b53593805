"""Folders of scores as teams send them, and ground truth as evaluators have it, in the formats of every year."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from offnote.challenge import Section, load_challenge

Table = Mapping[str, float]


def write_table(path: Path, rows: Table, order: Callable[[Sequence[str]], Sequence[str]] = sorted) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{clip},{rows[clip]}\n" for clip in order(list(rows))), encoding="utf-8")
    return path


def clip_name(year: int, section: Section, domain: str, label: str, number: int) -> str:
    """Name a labelled test clip, as the development set of a year does."""
    if year == 2020:
        return f"{label}_{section.machine_id}_{number:08d}.wav"
    attributes = "" if year == 2021 else f"_spd_{number}V_noAttribute"
    return f"{section.machine_id}_{domain}_test_{label}_{number:04d}{attributes}.wav"


def clip_names(year: int, section: Section) -> list[str]:
    domains = [section.domain] if section.domain else ["source", "target"] if year > 2021 else [""]
    return [
        clip_name(year, section, domain, label, number)
        for domain in domains
        for label in ("normal", "anomaly")
        for number in range(5)
    ]


def sections_of(year: int) -> list[Section]:
    """Name six score files that are a whole: two machine types with all their sections in 2020."""
    if year == 2020:
        return [Section(name, f"id_{number}") for name in ("fan", "pump") for number in ("00", "02", "04", "06")]
    if year == 2021:
        return [Section("fan", f"section_0{n}", domain) for n in range(3) for domain in ("source", "target")]
    if year == 2022:
        return [Section(name, f"section_0{n}") for name in ("fan", "ToyCar") for n in range(3)]
    return [Section(name, "section_00") for name in ("fan", "ToyCar", "my-machine")]


def make_labelled(folder: Path, year: int, decisions: bool = True) -> Path:
    """Write a folder of scores, and decisions where the year has them, in shuffled rows."""
    generator = random.Random(year)
    challenge = load_challenge(year)
    for section in sections_of(year):
        scores = {
            clip: round(generator.gauss(1.0 if "anomaly" in clip else 0.0, 1.0), 1)
            for clip in clip_names(year, section)
        }
        shuffled = lambda names: generator.sample(names, len(names))  # noqa: E731
        write_table(folder / challenge.name(challenge.scores, section), scores, shuffled)
        if decisions and challenge.decisions:
            called = {clip: int(score > 0.5) for clip, score in scores.items()}
            write_table(folder / challenge.name(challenge.decisions, section), called, shuffled)
    return folder


def edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(change(lines)) + "\n", encoding="utf-8")


def unlabelled(year: int, section: Section, number: int) -> str:
    """Name a clip of the evaluation set, which tells no label."""
    if year == 2020:
        return f"{section.machine_id}_{number:08d}.wav"
    domain = f"_{section.domain}_test" if section.domain else ""
    return f"{section.machine_id}{domain}_{number:04d}.wav"


def make_unlabelled(folder: Path, year: int) -> tuple[Path, Path]:
    """Write scores of clips without labels, and their ground truth: label = odd number, domain = high number."""
    challenge = load_challenge(year)
    truth, listed = folder / "evaluator", []
    for section in sections_of(year):
        clips = [unlabelled(year, section, number) for number in range(20)]
        write_table(
            folder / "system" / challenge.name(challenge.scores, section), {c: float(i) for i, c in enumerate(clips)}
        )
        labels = {clip: number % 2 for number, clip in enumerate(clips)}
        if year == 2020:
            listed += [section.machine_type] if section.number == "00" else []
            listed += [f"{clip},x_{clip},{label}" for clip, label in labels.items()]
            continue
        write_table(truth / challenge.name(challenge.ground_truth.labels, section), labels)
        if year > 2021:
            domains = {clip: int(number >= 10) for number, clip in enumerate(clips)}
            write_table(truth / challenge.name(challenge.ground_truth.domains, section), domains)
    if listed:
        truth.mkdir()
        (truth / "eval_data_list.csv").write_text("\n".join(listed) + "\n")
    return folder / "system", truth
