# ROC, score histogram and loss curves of each machine.


rule figures:
    input:
        scores=lambda wildcards: [f"{stem}.csv" for stem in scores_of_machine(wildcards)],
        descriptions=lambda wildcards: [f"{stem}.json" for stem in scores_of_machine(wildcards)],
        losses=losses_of,
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
        **asks(mem_mb=1000, runtime=5),
    # The rows of this machine, not the clip list of all: another machine's labels redraw nothing here.
    params:
        clips=test_rows,
        settings=lambda wildcards: RUNS[wildcards.run].settings.evaluate.model_dump(),
        code=code_of("figures"),
    message:
        "Draw the figures of {wildcards.machine_type}/{wildcards.machine_id}"
    script:
        "../scripts/figures.py"
