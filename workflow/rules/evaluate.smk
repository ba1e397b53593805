# Scores and labels to tables. No stage before this one knows a label.


rule evaluate:
    input:
        scores=lambda wildcards: [file for job in evaluate_jobs(wildcards) for file in described(job["scores"])],
        clips=lambda wildcards: CLIPS.format(dataset=RUNS[wildcards.run].settings.dataset.name),
    output:
        machines=report(
            f"{TABLES}/machines.csv",
            caption="../report/machines.rst",
            category="{run}",
            subcategory="Tables",
            labels={"table": "machines"},
        ),
        types=report(
            f"{TABLES}/types.csv",
            caption="../report/types.rst",
            category="{run}",
            subcategory="Tables",
            labels={"table": "machine types"},
        ),
        clips=report(
            f"{TABLES}/clips.csv",
            caption="../report/clips.rst",
            category="{run}",
            subcategory="Tables",
            labels={"table": "clips"},
        ),
        decisions=report(
            f"{TABLES}/decisions.csv",
            caption="../report/decisions.rst",
            category="{run}",
            subcategory="Tables",
            labels={"table": "decisions"},
        ),
        excluded=f"{TABLES}/excluded.csv",
        summary=f"{TABLES}/summary.md",
        page=report(
            f"{TABLES}/summary.html",
            caption="../report/summary.rst",
            category="{run}",
            subcategory="Tables",
            labels={"table": "summary"},
        ),
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
