# What a run was made from: settings, code, versions, devices, seeds, and hashes of inputs and results.


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
        **asks(mem_mb=500, runtime=20),
    params:
        settings=lambda wildcards: RUNS[wildcards.run].settings.model_dump(),
        stages={stage: code_of(stage) for stage in ("features", "train", "score", "evaluate")},
        root=placed("."),
        code=code_of("manifest"),
    message:
        "Write down what the run {wildcards.run} was made from"
    script:
        "../scripts/manifest.py"
