# What the rules share: the plan, the paths, and how to look them up.
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from offnote import synthetic_challenge
from offnote.batches import Batch, demo_batches, demo_paths, in_batches
from offnote.clips import Machine
from offnote.config import resolve
from offnote.config_files import name_files, refuse_repeated_keys, refuse_repeated_options
from offnote.device import gpu_expected
from offnote.errors import InputError
from offnote.evaluation import FIGURES as FIGURE_FILES
from offnote.evaluation import TABLES as TABLE_FILES
from offnote.official import TABLES as OFFICIAL_FILES
from offnote.plan import FEATURES, plan, plan_rehearsals, plan_submission
from offnote.provenance import PACKAGE, code_hash
from offnote.recordings import Listing, demo_folder
from offnote.retrieve import planned_archives, planned_folder
from offnote.scores import description_of
from offnote.submission import CHECK

CLIPS = "results/cache/clips/{dataset}.tsv"
CHECKPOINTS = "results/cache/checkpoints"
MODEL = "results/{run}/models/{machine_type}/{machine_id}/trial_{trial}"
SCORES = "results/{run}/scores/{machine_type}/{machine_id}/trial_{trial}.csv"
TABLES = "results/{run}/tables"
OFFICIAL = "results/{run}/official"
SUBMISSION = "results/{run}/submission"
REHEARSAL = "results/{run}/rehearsal"
FIGURES = "results/{run}/report/{machine_type}/{machine_id}"
# Without their suffix: the log of a job, and what Snakemake measures of it.
LOGS = {
    "features": "logs/features/{dataset}/{key}/{machine_type}/{machine_id}",
    "train": "logs/train/{run}/{machine_type}/{machine_id}/trial_{trial}",
    "score": "logs/score/{run}/{machine_type}/{machine_id}/trial_{trial}",
}
MODEL_FILES = ["model.safetensors", "model.json", "loss.csv"]
# The module of the package that does the work of each stage.
MODULES = {
    "synthesise": "synthetic_challenge",
    "ground_truth": "synthetic_challenge",
    "index": "clips",
    "features": "features",
    "train": "detectors",
    "score": "scoring",
    "evaluate": "evaluation",
    "figures": "report",
    "manifest": "manifest",
    "official": "systems",
    "submission": "systems",
    "rehearse": "systems",
}
ENVIRONMENT = "../../envs/offnote.yaml"

# Snakemake lists the Snakefile's own configuration file last, though it lies below the others.
CONFIGURATION = [Path(file) for file in [*workflow.configfiles[-1:], *workflow.configfiles[:-1]]]


include: "storage.smk"


try:
    for file in CONFIGURATION:
        refuse_repeated_keys(file)
    refuse_repeated_options(sys.argv[1:])
    # Settings that hold for all runs together are those of any.
    SHARED = next(iter(resolve(config).values()))
    RETRIEVED = planned_folder(SHARED.retrieve)
    ARCHIVES = planned_archives(SHARED.retrieve, asked="retrieve" in sys.argv)
    try:
        RUNS = plan(config, list_storage)
    except InputError:
        # The recordings may be those that `snakemake retrieve` is to bring: until then there are no runs.
        if not ARCHIVES or (workflow.is_main_process and "retrieve" not in sys.argv):
            raise
        RUNS = {}
    SENT = plan_submission(RUNS, {"submission", "rehearse"} & set(sys.argv)) if RUNS else None
    # The runs that were asked for, and for each of a submission one that rehearses it.
    ASKED = list(RUNS)
    REHEARSALS = plan_rehearsals(SENT.systems, "rehearse" in sys.argv) if SENT else {}
    RUNS |= {rehearsal.settings.run: rehearsal for rehearsal in REHEARSALS.values()}
except InputError as error:
    typed = ", --config" if workflow.config_settings.config else ""
    raise WorkflowError(f"{error}\nconfiguration: {name_files(CONFIGURATION)}{typed}") from None

# Feature caches are shared: here stands, for each dataset and feature key, a run that knows each machine's clips.
CACHED = {}
for run in RUNS.values():
    known = CACHED.setdefault((run.settings.dataset.name, run.feature_key), {})
    known |= {machine: run for machine in run.scored_machines if machine not in run.recordings.caches}


wildcard_constraints:
    run="|".join(map(re.escape, RUNS)),
    dataset=r"[^/]+",
    key=r"[0-9a-f]{12}",
    machine_type=r"[^/]+",
    machine_id=r"[^/]+",
    trial=r"\d+",


def cache_of(run, machine):
    """Return the feature cache of a machine: one made elsewhere, or the one that the rule `features` makes."""
    if machine in run.recordings.caches:
        return local(str(run.recordings.caches[machine]))
    return run.cache_path(machine)


def models_of(run, machines):
    """Return the folder of every model of a run that scores some machines."""
    return [
        MODEL.format(run=run.settings.run, trial=trial, **scope._asdict())
        for scope in dict.fromkeys(map(run.scope_of, machines))
        if scope in run.scopes
        for trial in run.trials
    ]


def scores_of(run, machine):
    """Return the score files of a machine, one a trial."""
    return [SCORES.format(run=run.settings.run, trial=trial, **machine._asdict()) for trial in run.trials]


def described(scores):
    """Return some score files, each with its description."""
    return [file for path in scores for file in (path, str(description_of(Path(path))))]


def results_of(name):
    """Return every file of a run, so that whichever is missing is made again."""
    run = RUNS[name]
    machines = [machine._asdict() for machine in run.scored_machines]
    return [
        CLIPS.format(dataset=run.settings.dataset.name),
        [cache_of(run, machine) for machine in run.scored_machines],
        [f"{folder}/{file}" for folder in models_of(run, run.machines) for file in MODEL_FILES],
        [described(scores_of(run, machine)) for machine in run.scored_machines],
        [f"{TABLES.format(run=name)}/{file}" for file in TABLE_FILES],
        [f"{FIGURES.format(run=name, **machine)}/{file}" for machine in machines for file in FIGURE_FILES],
        [f"results/{name}/{file}" for file in ("config.yaml", "manifest.json")],
        [f"{OFFICIAL.format(run=name)}/{file}" for file in OFFICIAL_FILES if run.machines_of("development")],
    ]


def run_of(known):
    """Return the run that a job belongs to; for a feature cache, which runs share, one of them."""
    if "run" in known:
        return RUNS[known["run"]]
    return next(iter(CACHED[known["dataset"], known["key"]].values()))


def gpu_of(known):
    """Return how many GPUs a job asks the scheduler for: none where none will be used, so that CPU jobs run abreast."""
    settings = run_of(known).settings
    return int(gpu_expected(settings.device, settings.require_gpu, elsewhere=workflow.non_local_exec))


def code_of(stage):
    """Return a hash of the script of a stage and of all code below it, so that editing either does the stage again."""
    return code_hash(f"offnote.{MODULES[stage]}", PACKAGE.parent / f"{stage}.py")


def without_rerun(batch):
    """Return what the jobs of a batch are told as resources, so that changing it undoes nothing that went well."""
    return {
        "device": batch.of(lambda known: run_of(known).settings.device),
        # Text, as a resource is a number or a text.
        "require_gpu": batch.of(lambda known: str(run_of(known).settings.require_gpu).lower()),
        "broken_clips": batch.of(lambda known: run_of(known).settings.dataset.broken_clips),
    }


def told(path, caption, table):
    """Return a table of a run with its place in Snakemake's report."""
    caption = f"../report/{caption}.rst"
    return report(path, caption=caption, category="{run}", subcategory="Tables", labels={"table": table})
