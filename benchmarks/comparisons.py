"""What is compared: a function for each row, or for rows that are measured together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.clips import Recordings, noise, synthesised
from benchmarks.measurement import Goal, Row, in_turn
from benchmarks.processes import Bench

EPOCHS = 50
MIB = 2**20
MACHINES = 41
"""As many as there are in the demo set."""


def whole_job(bench: Bench) -> list[Row]:
    """Run the real Snakefile with every start-up cost in it, with the published and with the fast schedule."""
    machines, train, test = (4, 600, 400) if bench.full else (2, 100, 50)
    recordings = synthesised(bench.clips, machines, train, test)

    def ours(schedule: str) -> float:
        settings: dict[str, Any] = {"training": {"schedule": schedule}}
        return bench.workflow(bench.fresh(f"job_{schedule}"), recordings, settings)

    published, fast, theirs = in_turn(
        bench.repetitions,
        lambda: ours("published"),
        lambda: ours("fast"),
        lambda: bench.opponents_job(bench.fresh("job_opponent"), recordings, EPOCHS),
    )
    size = f"{machines} machines of {train} training and {test} test clips"
    return [
        Row(
            "job", f"whole job, {size}, {EPOCHS} epochs", "s", published, "opponent", theirs, True, Goal("at least", 4)
        ),
        Row("fast", f"whole job, {size}, fast schedule", "s", fast, "opponent", theirs, True, Goal("at least", 10)),
    ]


def features(bench: Bench) -> list[Row]:
    """Make features once started, against the opponent's, and against the floor."""
    abreast = min(bench.cores, MACHINES)
    train, test = (max(2, clips // abreast) for clips in _clips_of_one(bench))
    recordings = synthesised(bench.clips, abreast, train, test)
    cores = ["--cores", str(abreast)]
    ours, theirs, floor, single = in_turn(
        bench.repetitions,
        lambda: _milliseconds_a_clip(bench.offnote("features", recordings, *cores)),
        lambda: _milliseconds_a_clip(bench.opponent("features", recordings)),
        lambda: _milliseconds_a_clip(bench.offnote("floor", recordings, *cores)),
        lambda: _milliseconds_a_clip(bench.offnote("floor_in_single", recordings, *cores)),
    )
    what = f"features, once started, {abreast} cores"
    below = "decoding, FFT and mel product alone"
    return [
        Row("features", what, "ms/clip", ours, "opponent", theirs, True, Goal("at least", 2.5)),
        Row("floor", what, "ms/clip", ours, f"{below}, FFT in double precision", floor, False, Goal("at most", 1.5)),
        Row("floor", what, "ms/clip", ours, f"{below}, FFT in single precision", single, False, Goal("at most", 1.5)),
    ]


def scoring(bench: Bench) -> list[Row]:
    """Score once started, from features that are there."""
    recordings = _one_machine(bench)
    ours, theirs = in_turn(
        bench.repetitions,
        lambda: _milliseconds_a_clip(bench.offnote("scoring", recordings)),
        lambda: _milliseconds_a_clip(bench.opponent("scoring", recordings)),
    )
    return [Row("scoring", "scores, once started", "ms/clip", ours, "opponent", theirs, True, Goal("at least", 80))]


def memory(bench: Bench) -> list[Row]:
    """Take the peak of resident memory in training less that after the imports, both sides."""
    train, epochs = (600, 3) if bench.full else (150, 2)
    recordings = _one_machine(bench)
    ours, theirs = in_turn(
        bench.repetitions,
        lambda: bench.offnote("training", recordings, "--epochs", str(epochs))["bytes"] / MIB,
        lambda: bench.opponent("training", recordings, "--epochs", str(epochs))["bytes"] / MIB,
    )
    what = f"memory of training on {train} clips"
    return [Row("memory", what, "MiB", ours, "opponent", theirs, True, Goal("at least", 10))]


def steps(bench: Bench) -> list[Row]:
    """Take steps of training as offnote does and as a plain loop does, one thread each."""
    recordings = _one_machine(bench)

    def of(preset: str) -> Row:
        options = ["--preset", preset, "--epochs", "3"]
        ours, theirs = in_turn(
            bench.repetitions,
            lambda: _milliseconds_a_step(bench.offnote("steps", recordings, *options)),
            lambda: _milliseconds_a_step(bench.offnote("plain_steps", recordings, *options)),
        )
        what = f"training, preset {preset}, one thread"
        return Row("steps", what, "ms/step", ours, "a plain PyTorch loop", theirs, True, Goal("at least", 1))

    return [of(preset) for preset in ("mimii", "dcase2020")]


def nothing_to_do(bench: Bench) -> list[Row]:
    """Run `snakemake` in a folder where everything is done."""
    clips = 31_000 if bench.full else 3_100
    recordings = noise(bench.clips, 41, clips)
    settings = {
        "training": {"epochs": 1},
        "evaluate": {"resamples": 0},
        "jobs": {"machines": 41},
    }
    folder = bench.folder / "work" / f"nothing_to_do_{clips}"
    folder.mkdir(parents=True, exist_ok=True)
    bench.workflow(folder, recordings, settings)
    (costs,) = in_turn(bench.repetitions, lambda: bench.workflow(folder, recordings, settings))
    what = f"`snakemake` with nothing to do, {clips:,} clips of 41 machines"
    return [Row("nothing", what, "s", costs, "", [], True, Goal("at most", 10))]


def many_machines(bench: Bench) -> list[Row]:
    """Do the whole job on many tiny machines, against the work alone, both on one core."""
    machines = 41 if bench.full else 12
    recordings = synthesised(bench.clips, machines, 20, 20)
    settings = {"jobs": {"machines": machines}}
    ours, theirs = in_turn(
        bench.repetitions,
        lambda: bench.workflow(bench.fresh("many_machines"), recordings, settings, cores=1),
        lambda: bench.offnote("bare", recordings, "--epochs", str(EPOCHS))["seconds"],
    )
    what = f"whole job, {machines} machines of 20 training and 20 test clips, one core"
    return [Row("workflow", what, "s", ours, "the work alone", theirs, False, Goal("at most", 2))]


def two_jobs(bench: Bench) -> list[Row]:
    """Do two jobs on two cores against one after the other."""
    recordings = synthesised(bench.clips, 2, *((600, 400) if bench.full else (100, 50)))
    together, in_a_row = in_turn(
        bench.repetitions,
        lambda: bench.workflow(bench.fresh("two_at_once"), recordings, {}, cores=2),
        lambda: bench.workflow(bench.fresh("one_by_one"), recordings, {}, cores=1),
    )
    what = "two machines, `--cores 2`"
    return [Row("two_jobs", what, "s", together, "`--cores 1`", in_a_row, True, Goal("at least", 1))]


COMPARISONS: dict[str, Callable[[Bench], Sequence[Row]]] = {
    "job": whole_job,
    "features": features,
    "scoring": scoring,
    "steps": steps,
    "memory": memory,
    "nothing": nothing_to_do,
    "workflow": many_machines,
    "two_jobs": two_jobs,
}


def _one_machine(bench: Bench) -> Recordings:
    return synthesised(bench.clips, 1, *_clips_of_one(bench))


def _clips_of_one(bench: Bench) -> tuple[int, int]:
    return (600, 400) if bench.full else (150, 50)


def _milliseconds_a_step(measured: dict[str, float]) -> float:
    return 1000 * measured["seconds"] / measured["steps"]


def _milliseconds_a_clip(measured: dict[str, float]) -> float:
    return 1000 * measured["seconds"] / measured["clips"]
