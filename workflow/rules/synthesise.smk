# The built-in demo set: recordings of machines that never were.


rule synthesise:
    output:
        [
            f"{plan.DEMO_FOLDER}/{path}"
            for path in synthesis.machine_paths(SHARED.demo, "{machine_type}", "{machine_id}")
        ],
    log:
        "logs/synthesise/{machine_type}/{machine_id}.log",
    benchmark:
        "logs/synthesise/{machine_type}/{machine_id}.benchmark.jsonl"
    conda:
        ENVIRONMENT
    resources:
        mem_mb=500,
        runtime=10,
    params:
        demo=SHARED.demo.model_dump(),
        code=code_of("synthesise"),
    message:
        "Synthesise the demo recordings of {wildcards.machine_type}/{wildcards.machine_id}"
    script:
        "../scripts/synthesise.py"
