# The built-in demo set: recordings of machines that never were.


rule synthesise:
    output:
        [
            f"{plan.DEMO_FOLDER}/{path}".replace("rotor", "{machine_type}").replace("id_00", "{machine_id}")
            for path in synthesis.planned_paths(SHARED.demo, "rotor", "id_00")
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
        code=code_hash("offnote.synthesis"),
    message:
        "Synthesise the demo recordings of {wildcards.machine_type}/{wildcards.machine_id}"
    script:
        "../scripts/synthesise.py"
