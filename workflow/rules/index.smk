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
        **asks(mem_mb=500, runtime=10),
    params:
        rows=lambda wildcards: clip_rows(wildcards.dataset),
        code=code_of("index"),
    message:
        "List the clips of {wildcards.dataset}"
    script:
        "../scripts/index.py"
