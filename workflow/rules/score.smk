# A model and a machine's features to scores: one row for each clip.
SCORE_GROUPS = [({"run": name}, run.scored_machines) for name, run in RUNS.items()]


for batch in in_batches("score", SCORE_GROUPS, SHARED.jobs.machines):

    rule:
        name:
            batch.name
        input:
            batch.together(score_inputs),
        output:
            scores=batch.all(SCORES),
            descriptions=batch.all(str(description_of(Path(SCORES)))),
        log:
            batch.one(f"{LOGS['score']}.log"),
        benchmark:
            batch.one(f"{LOGS['score']}.benchmark.jsonl")
        conda:
            ENVIRONMENT
        threads: batch.of(lambda known: run_of(known).settings.model.threads)
        resources:
            **asks(
                gpu=batch.sized(gpus),
                mem_mb=batch.sized(reading_memory),
                runtime=batch.sized(reading_minutes),
            ),
            **without_rerun(batch),
        params:
            jobs=batch.each(score_job),
            made_elsewhere=batch.each(lambda known, machine: made_elsewhere(known, [machine])),
            quantiles=batch.of(lambda known: run_of(known).settings.scores.quantiles),
            threads=batch.of(lambda known: run_of(known).settings.model.threads),
            code=code_of("score"),
        message:
            f"Score the clips of {batch.title}, trial {{wildcards.trial}}"
        script:
            "../scripts/score.py"
