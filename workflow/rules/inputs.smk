# What each job is given: functions of a rule's wildcards, stage by stage. Labels come in at `evaluate`.
from functools import cache


def clip_rows(dataset):
    """Return the rows of a dataset's clip list: every clip, also of machines that a run leaves out."""
    run = next(run for run in RUNS.values() if run.settings.dataset.name == dataset)
    return [clip.row for clips in run.recordings.clips.values() for clip in clips]


def recordings_of(known, machine):
    """Return the recordings of a machine. Whether one was changed is told by :func:`fingerprint_of`, not by its age."""
    recordings = CACHED[known["dataset"], known["key"]][machine].recordings
    files = recordings.files(machine)
    return files if recordings.are_made else [ancient(file) for file in files]


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
    return {
        "machine": str(machine),
        "root": str(recordings.root),
        "clips": [clip.unlabelled_row for clip in recordings.clips[machine]],
        "elsewhere": (
            {clip.path: recordings.elsewhere[clip.path] for clip in recordings.clips[machine]}
            if recordings.elsewhere
            else {}
        ),
    }


def training_caches(known, scope):
    """Return the caches of the machines of a scope that have training clips."""
    run = RUNS[known["run"]]
    return [cache_of(run, machine) for machine in run.training_machines(scope)]


def train_job(known, scope):
    """Return which model is trained from which caches."""
    return {
        "scope": str(scope),
        "trial": int(known["trial"]),
        "caches": training_caches(known, scope),
    }


def score_job(known, machine):
    """Return the cache and the model of a machine's scores."""
    run = RUNS[known["run"]]
    model = MODEL.format(run=known["run"], trial=known["trial"], **run.scope_of(machine)._asdict())
    return {"machine": str(machine), "cache": cache_of(run, machine), "model": model}


def score_inputs(known, machine):
    """Return the files of :func:`score_job`."""
    job = score_job(known, machine)
    return [
        job["cache"],
        f"{job['model']}/model.safetensors",
        f"{job['model']}/model.json",
    ]


def scores_of_machines(run):
    """Return every machine of a run with its score files, or with the reason why it has none."""
    return [
        {
            **machine._asdict(),
            "scores": ([f"{stem}.csv" for stem in scores_of(run, machine)] if not run.status(machine) else []),
            "status": run.status(machine),
        }
        for machine in run.machines
    ]


def evaluate_jobs(wildcards):
    """Return what a run's tables are made of."""
    return scores_of_machines(RUNS[wildcards.run])


def scores_of_machine(wildcards):
    """Return the stems of the score files that the figures of a machine are drawn from."""
    return scores_of(RUNS[wildcards.run], Machine(wildcards.machine_type, wildcards.machine_id))


def test_rows(wildcards):
    """Return the rows of a machine's test clips, labels included."""
    clips = RUNS[wildcards.run].recordings.clips[Machine(wildcards.machine_type, wildcards.machine_id)]
    return [clip.row for clip in clips if clip.split == "test"]


def losses_of(wildcards):
    """Return the loss curves of the model that covers a machine, one a trial."""
    run = RUNS[wildcards.run]
    scope = run.scope_of(Machine(wildcards.machine_type, wildcards.machine_id))
    return [f"{MODEL.format(run=wildcards.run, trial=trial, **scope._asdict())}/loss.csv" for trial in run.trials]


def manifest_inputs(wildcards):
    """Return the files that the manifest speaks of."""
    run = RUNS[wildcards.run]
    stems = [stem for machine in run.scored_machines for stem in scores_of(run, machine)]
    return {
        "clips": CLIPS.format(dataset=run.settings.dataset.name),
        "caches": [cache_of(run, machine) for machine in run.scored_machines],
        "models": [f"{folder}/{name}" for folder in models_of(run) for name in ("model.json", "model.safetensors")],
        "scores": [f"{stem}.{suffix}" for stem in stems for suffix in ("csv", "json")],
        "tables": rules.evaluate.output,
    }


def official_inputs(wildcards):
    """Return the files that the official figures of a run are made from: those of the development set."""
    run = RUNS[wildcards.run]
    stems = [stem for machine in run.machines_of("development") for stem in scores_of(run, machine)]
    return {
        "scores": [f"{stem}.{suffix}" for stem in stems for suffix in ("csv", "json")],
        "clips": CLIPS.format(dataset=run.settings.dataset.name),
    }


def scored_run(run):
    """Return what is told of a run to those who judge or send it: settings that matter there, machines and files."""
    irrelevant = {"dataset", "demo", "device", "jobs", "require_gpu", "retrieve", "run"}
    return {
        "settings": run.settings.model_dump(exclude=irrelevant) | {"run": run.settings.run.partition("/")[0]},
        "machines": scores_of_machines(run),
        "clips": CLIPS.format(dataset=run.settings.dataset.name),
        "models": models_of(run),
        "caches": [cache_of(run, machine) for machine in run.machines_of("evaluation")],
    }


def submission_inputs(runs):
    """Return the files that a submission is made from."""
    stems = [stem for run in runs for machine in run.scored_machines for stem in scores_of(run, machine)]
    return {
        "scores": [f"{stem}.{suffix}" for stem in stems for suffix in ("csv", "json")],
        "clips": [CLIPS.format(dataset=run.settings.dataset.name) for run in runs],
        "models": [f"{folder}/model.json" for run in runs for folder in models_of(run)],
        "caches": [cache_of(run, machine) for run in runs for machine in run.machines_of("evaluation")],
        "manifests": [f"results/{run.settings.run}/manifest.json" for run in runs],
        "official": [f"{OFFICIAL.format(run=run.settings.run)}/{file}" for run in runs for file in OFFICIAL_FILES],
    }


def rehearsal_inputs(systems):
    """Return the files that a rehearsal is made from: of the rehearsing runs everything, of the others their scores."""
    rehearsing = submission_inputs([REHEARSALS[run.settings.run] for run in systems])
    known = submission_inputs(systems)
    return {
        **{name: rehearsing[name] for name in ("scores", "models", "caches")},
        "clips": rehearsing["clips"] + known["clips"],
        "known_scores": known["scores"],
        "known_models": known["models"],
    }


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
