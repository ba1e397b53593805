# The built-in demo set: recordings of machines that never were.
DEMO = demo_folder(SHARED.demo)


for batch in demo_batches(SHARED.demo, SHARED.jobs.machines):

    rule:
        name:
            batch.name
        output:
            [f"{DEMO}/{path}" for path in demo_paths(SHARED.demo, batch)],
        log:
            batch.one("logs/synthesise/{machine_type}/{machine_id}.log"),
        benchmark:
            batch.one("logs/synthesise/{machine_type}/{machine_id}.benchmark.jsonl")
        group:
            "synthesise"
        conda:
            ENVIRONMENT
        resources:
            **asks(mem_mb=500, runtime=10),
        params:
            machines=batch.each(lambda known, machine: [*machine]),
            demo=SHARED.demo.model_dump(),
            code=code_of("synthesise"),
        message:
            f"Synthesise the demo recordings of {batch.title}"
        script:
            "../scripts/synthesise.py"


if SHARED.demo.year is not None:

    # What the evaluation clips are. Nothing else needs it: it is there for `offnote evaluate --labels`.
    rule ground_truth:
        output:
            [f"{DEMO}_ground_truth/{name}" for name in synthetic_challenge.ground_truth(SHARED.demo)],
        log:
            "logs/ground_truth.log",
        benchmark:
            "logs/ground_truth.benchmark.jsonl"
        conda:
            ENVIRONMENT
        resources:
            **asks(mem_mb=500, runtime=10),
        params:
            demo=SHARED.demo.model_dump(),
            code=code_of("ground_truth"),
        message:
            "Write down what the evaluation clips of the demo set are"
        script:
            "../scripts/ground_truth.py"
