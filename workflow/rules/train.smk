# Features of a scope's normal clips to a model: one for each trial.
MODEL_GROUPS = [({"run": name}, run.scopes) for name, run in RUNS.items()]


for batch in in_batches("train", MODEL_GROUPS, SHARED.jobs.machines):

    rule:
        name:
            batch.name
        input:
            batch.together(training_caches),
        output:
            models=batch.all(f"{MODEL}/model.safetensors"),
            descriptions=batch.all(f"{MODEL}/model.json"),
            losses=batch.all(f"{MODEL}/loss.csv"),
        log:
            batch.one(f"{LOGS['train']}.log"),
        benchmark:
            batch.one(f"{LOGS['train']}.benchmark.jsonl")
        conda:
            ENVIRONMENT
        threads: batch.of(lambda known: run_of(known).settings.model.threads)
        resources:
            **asks(
                gpu=batch.sized(gpus),
                mem_mb=batch.sized(training_memory),
                runtime=batch.sized(training_minutes),
            ),
            **without_rerun(batch),
            checkpoint_seconds=SHARED.jobs.checkpoint_seconds,
        params:
            jobs=batch.each(train_job),
            made_elsewhere=batch.each(
                lambda known, scope: made_elsewhere(known, run_of(known).training_machines(scope))
            ),
            settings=batch.of(lambda known: run_of(known).training_settings),
            threads=batch.of(lambda known: run_of(known).settings.model.threads),
            checkpoints=CHECKPOINTS,
            code=code_of("train"),
        message:
            f"Train on {batch.title}, trial {{wildcards.trial}}"
        script:
            "../scripts/train.py"
