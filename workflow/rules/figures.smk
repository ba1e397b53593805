# ROC, score histogram and loss curves of each machine.


rule figures:
    input:
        scores=lambda wildcards: [
            f"{stem}.csv"
            for stem in scores_of(
                RUNS[wildcards.run],
                Machine(wildcards.machine_type, wildcards.machine_id),
            )
        ],
        losses=losses_of,
        clips=lambda wildcards: CLIPS.format(dataset=RUNS[wildcards.run].settings.dataset.name),
    output:
        roc=report(
            f"{FIGURES}/roc.svg",
            caption="../report/roc.rst",
            category="{run}",
            subcategory="{machine_type}",
            labels={"machine": "{machine_type}/{machine_id}", "figure": "ROC"},
        ),
        histogram=report(
            f"{FIGURES}/histogram.svg",
            caption="../report/histogram.rst",
            category="{run}",
            subcategory="{machine_type}",
            labels={"machine": "{machine_type}/{machine_id}", "figure": "scores"},
        ),
        loss=report(
            f"{FIGURES}/loss.svg",
            caption="../report/loss.rst",
            category="{run}",
            subcategory="{machine_type}",
            labels={"machine": "{machine_type}/{machine_id}", "figure": "loss"},
        ),
    log:
        "logs/figures/{run}/{machine_type}/{machine_id}.log",
    benchmark:
        "logs/figures/{run}/{machine_type}/{machine_id}.benchmark.jsonl"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=1000,
        runtime=20,
    params:
        settings=lambda wildcards: RUNS[wildcards.run].settings.evaluate.model_dump(),
        code=code_hash("offnote.report"),
    message:
        "Draw the figures of {wildcards.machine_type}/{wildcards.machine_id}"
    script:
        "../scripts/figures.py"
