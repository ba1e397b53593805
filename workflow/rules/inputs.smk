# What each job is given: functions of a rule's wildcards, stage by stage. Labels come in at `evaluate`.
from functools import cache


def clip_rows(dataset):
    """Return the rows of a dataset's clip list: every clip, also of machines that a run leaves out."""
    run = next(run for run in RUNS.values() if run.settings.dataset.name == dataset)
    return [clip.row for clips in run.recordings.clips.values() for clip in clips]


def recordings_of(known, machine):
    """Return the recordings of a machine that Snakemake makes or brings; of all others it need not know.

    Whether one of those was added, changed or removed is told by :func:`fingerprint_of`. To list them here, too, would
    have Snakemake compare each with every other file.
    """
    run = CACHED[known["dataset"], known["key"]][machine]
    recordings, files = run.recordings, run.recordings.files(machine)
    if recordings.are_made:
        return files
    if recordings.objects is None:
        return []
    folder = run.settings.dataset.path
    return [ancient(storage.s3(f"{folder}/{Path(file).relative_to(recordings.root).as_posix()}")) for file in files]


def megabytes_of(known, machine):
    """Return the size of the recordings of a machine that are no input of a job, as Snakemake need not know of them."""
    recordings = CACHED[known["dataset"], known["key"]][machine].recordings
    return 0 if recordings.are_made or recordings.objects else recordings.size(machine) / 1e6


@cache
def fingerprint(dataset, key, machine):
    """Return what changes when a recording is added, replaced or removed; those made here are compared by age."""
    recordings = CACHED[dataset, key][machine].recordings
    return "" if recordings.are_made else recordings.fingerprint(machine)


def fingerprint_of(known, machine):
    """Return the fingerprint of the recordings of a machine."""
    return fingerprint(known["dataset"], known["key"], machine)


def features_job(known, machine):
    """Return what the features of a machine are made from; labels stay behind."""
    recordings = CACHED[known["dataset"], known["key"]][machine].recordings
    place = placed if recordings.are_made else str
    return {
        "machine": str(machine),
        "root": place(recordings.root),
        "clips": [clip.unlabelled_row for clip in recordings.clips[machine]],
        "elsewhere": (
            {clip.path: place(recordings.elsewhere[clip.path]) for clip in recordings.clips[machine]}
            if recordings.elsewhere
            else {}
        ),
    }


def training_caches(known, scope):
    """Return the caches of the machines of a scope that have training clips."""
    run = RUNS[known["run"]]
    return [cache_of(run, machine) for machine in run.training_machines(scope)]


def made_elsewhere(known, machines):
    """Return the fingerprints of caches that are not made here: their age alone may say nothing."""
    recordings = RUNS[known["run"]].recordings
    return [recordings.fingerprint(machine) for machine in machines if machine in recordings.caches]


def train_job(known, scope):
    """Return which model is trained from which caches."""
    return {
        "scope": str(scope),
        "trial": int(known["trial"]),
        "caches": [placed(cache) for cache in training_caches(known, scope)],
    }


def model_of(known, machine):
    """Return the folder of the model that scores a machine."""
    scope = RUNS[known["run"]].scope_of(machine)
    return MODEL.format(run=known["run"], trial=known["trial"], **scope._asdict())


def score_job(known, machine):
    """Return the cache and the model of a machine's scores."""
    cache, model = cache_of(RUNS[known["run"]], machine), model_of(known, machine)
    return {"machine": str(machine), "cache": placed(cache), "model": placed(model)}


def score_inputs(known, machine):
    """Return the files of :func:`score_job`."""
    model = model_of(known, machine)
    return [cache_of(RUNS[known["run"]], machine), f"{model}/model.safetensors", f"{model}/model.json"]


def scores_of_machines(run, machines):
    """Return machines of a run, each with its score files, or with the reason why it has none."""
    return [
        {
            **machine._asdict(),
            "scores": scores_of(run, machine) if not run.status(machine) else [],
            "status": run.status(machine),
        }
        for machine in machines
    ]


def evaluate_jobs(wildcards):
    """Return what a run's tables are made of."""
    return scores_of_machines(RUNS[wildcards.run], RUNS[wildcards.run].machines)


def placed_machines(machines):
    """Return :func:`scores_of_machines` with the places where a job finds the files."""
    return [machine | {"scores": [placed(path) for path in machine["scores"]]} for machine in machines]


def figures_inputs(known, machine):
    """Return the files that the figures of a machine are drawn from, by what they tell."""
    run = RUNS[known["run"]]
    return {
        "scores": scores_of(run, machine),
        "losses": [f"{folder}/loss.csv" for folder in models_of(run, [machine])],
    }


def figures_files(known, machine):
    """Return the files of :func:`figures_inputs`, with the descriptions of the scores."""
    files = figures_inputs(known, machine)
    return [*described(files["scores"]), *files["losses"]]


def figures_job(known, machine):
    """Return what the figures of a machine are drawn from: of its test clips labels and all."""
    files = figures_inputs(known, machine)
    return {
        **machine._asdict(),
        "scores": [placed(path) for path in files["scores"]],
        "losses": [placed(path) for path in files["losses"]],
        "clips": [clip.row for clip in RUNS[known["run"]].recordings.clips[machine] if clip.split == "test"],
    }


def manifest_inputs(wildcards):
    """Return the files that the manifest speaks of."""
    run = RUNS[wildcards.run]
    return {
        "clips": CLIPS.format(dataset=run.settings.dataset.name),
        "caches": [cache_of(run, machine) for machine in run.scored_machines],
        "models": [
            f"{folder}/{name}"
            for folder in models_of(run, run.machines)
            for name in ("model.json", "model.safetensors")
        ],
        "scores": [file for machine in run.scored_machines for file in described(scores_of(run, machine))],
        "tables": rules.evaluate.output,
    }


def settings_told(settings):
    """Return the settings that matter to those who judge or send a run."""
    return settings.model_dump(exclude={"dataset", "demo", "device", "jobs", "require_gpu", "retrieve"})


def scored_run(run, machines):
    """Return what is told of some machines of a run to those who judge or send it: settings, scores and other files."""
    sent = [machine for machine in run.machines_of("evaluation") if machine in machines]
    return {
        "settings": settings_told(run.settings) | {"run": run.settings.run.partition("/")[0]},
        "machines": scores_of_machines(run, machines),
        "clips": CLIPS.format(dataset=run.settings.dataset.name),
        "models": models_of(run, machines),
        "caches": [cache_of(run, machine) for machine in sent],
    }


def placed_run(scored):
    """Return :func:`scored_run` with the places where a job finds the files."""
    return scored | {
        "machines": placed_machines(scored["machines"]),
        "clips": placed(scored["clips"]),
        "models": [placed(folder) for folder in scored["models"]],
        "caches": [placed(cache) for cache in scored["caches"]],
    }


def judged_run(run):
    """Return what is told of a run to those who judge it on the development set."""
    return scored_run(run, run.machines_of("development"))


def rehearsed_run(run):
    """Return what is told of the rehearsal of a run, and of that run itself."""
    rehearsal = REHEARSALS[run.settings.run]
    return scored_run(rehearsal, rehearsal.machines), judged_run(run)


def files_of(scored):
    """Return the files that are spoken of by :func:`scored_run`."""
    return [
        scored["clips"],
        *scored["caches"],
        *(file for machine in scored["machines"] for file in described(machine["scores"])),
        *(f"{folder}/model.json" for folder in scored["models"]),
    ]


def submission_inputs(runs):
    """Return the files that a submission is made from."""
    return {
        "scored": list(dict.fromkeys(file for run in runs for file in files_of(scored_run(run, run.machines)))),
        "manifests": [f"results/{run.settings.run}/manifest.json" for run in runs],
        "official": [f"{OFFICIAL.format(run=run.settings.run)}/{file}" for run in runs for file in OFFICIAL_FILES],
    }


def rehearsal_inputs(runs):
    """Return the files that a rehearsal is made from, each once."""
    return list(dict.fromkeys(file for run in runs for scored in rehearsed_run(run) for file in files_of(scored)))


def benchmarks_of(runs):
    """Return, stage by stage, the files in which Snakemake writes how long the jobs of some runs took."""
    files = {}
    for run in runs:
        dataset = {"dataset": run.settings.dataset.name, "key": run.feature_key}
        own = {"run": run.settings.run}
        stages = (("features", FEATURE_GROUPS, dataset), ("train", MODEL_GROUPS, own), ("score", SCORE_GROUPS, own))
        for stage, groups, known in stages:
            pattern = f"{LOGS[stage]}.benchmark.jsonl"
            batches = [batch for batch in in_batches(stage, groups, SHARED.jobs.machines) if batch.known == known]
            each = [Batch(stage, known, tuple(members)) for wanted, members in groups if wanted == known]
            # Where a job does one machine only, a single batch stands for all, and knows none.
            paths = [batch.one(pattern) for batch in batches] or [path for batch in each for path in batch.all(pattern)]
            filled = [path.replace("{trial}", str(trial)) for path in paths for trial in run.trials]
            files[stage] = list(dict.fromkeys([*files.get(stage, []), *map(placed, filled)]))
    return files


def clips_played(run):
    """Return the clip of the development set behind each clip of a rehearsal, by their paths."""
    root = run.recordings.root
    return {path: Path(file).relative_to(root).as_posix() for path, file in run.recordings.elsewhere.items()}


# Not when the jobs are planned: there Snakemake would put a traceback around the sentence.
if workflow.is_main_process:
    try:
        for (dataset, key), machines in CACHED.items():
            for machine in machines:
                fingerprint(dataset, key, machine)
    except InputError as error:
        raise WorkflowError(str(error)) from None
