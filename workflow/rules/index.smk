# The clip list of a dataset, labels included: the only file that holds them, read by nothing before `evaluate`.


rule index:
    output:
        CLIPS,
    log:
        "logs/index/{dataset}.log",
    benchmark:
        "logs/index/{dataset}.benchmark.jsonl"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=500,
        runtime=10,
    params:
        rows=lambda wildcards: clip_rows(wildcards.dataset),
        code=code_hash("offnote.clips"),
    message:
        "List the clips of {wildcards.dataset}"
    script:
        "../scripts/index.py"


def clip_rows(dataset):
    """Return the rows of a dataset's clip list, of all machines that any run of it takes."""
    machines = {}
    for run in RUNS.values():
        if run.settings.dataset.name == dataset:
            machines |= run.recordings.clips
    return [clip.row for machine in sorted(machines) for clip in machines[machine]]
