# What a run was made from: settings, code, versions, devices, seeds, and hashes of inputs and results.


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


rule manifest:
    input:
        unpack(manifest_inputs),
    output:
        config="results/{run}/config.yaml",
        manifest="results/{run}/manifest.json",
    log:
        "logs/manifest/{run}.log",
    benchmark:
        "logs/manifest/{run}.benchmark.jsonl"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=500,
        runtime=20,
    params:
        settings=lambda wildcards: RUNS[wildcards.run].settings.model_dump(),
        stages={
            stage: code_hash(f"offnote.{module}")
            for stage, module in {
                "features": "features",
                "train": "detectors",
                "score": "scoring",
                "evaluate": "evaluation",
            }.items()
        },
        code=code_hash("offnote.manifest"),
    message:
        "Write down what the run {wildcards.run} was made from"
    script:
        "../scripts/manifest.py"
