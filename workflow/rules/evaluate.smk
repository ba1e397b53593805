# Scores and labels to tables. No stage before this one knows a label.

# The tables that Snakemake's report shows, and how it calls them.
REPORTED = {
    "machines.csv": "machines",
    "types.csv": "machine types",
    "clips.csv": "clips",
    "decisions.csv": "decisions",
    "summary.html": "summary",
}


rule evaluate:
    input:
        scores=lambda wildcards: [file for job in evaluate_jobs(wildcards) for file in described(job["scores"])],
        clips=lambda wildcards: CLIPS.format(dataset=RUNS[wildcards.run].settings.dataset.name),
    output:
        [
            told(f"{TABLES}/{file}", Path(file).stem, REPORTED[file]) if file in REPORTED else f"{TABLES}/{file}"
            for file in TABLE_FILES
        ],
    log:
        "logs/evaluate/{run}.log",
    benchmark:
        "logs/evaluate/{run}.benchmark.jsonl"
    conda:
        ENVIRONMENT
    resources:
        **asks(mem_mb=2000, runtime=30),
    params:
        machines=lambda wildcards: placed_machines(evaluate_jobs(wildcards)),
        settings=lambda wildcards: RUNS[wildcards.run].settings.evaluate.model_dump(),
        broken_clips=lambda wildcards: RUNS[wildcards.run].settings.dataset.broken_clips,
        code=code_of("evaluate"),
    message:
        "Evaluate the run {wildcards.run}"
    script:
        "../scripts/evaluate.py"
