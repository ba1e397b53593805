# Recordings to log-mel frames: one HDF5 cache for each machine, shared by all runs with the same feature settings.
FEATURE_GROUPS = [({"dataset": dataset, "key": key}, machines) for (dataset, key), machines in CACHED.items()]


for batch in in_batches("features", FEATURE_GROUPS, SHARED.jobs.machines):

    rule:
        name:
            batch.name
        input:
            batch.together(recordings_of),
        output:
            batch.all(FEATURES),
        log:
            batch.one(f"{LOGS['features']}.log"),
        benchmark:
            batch.one(f"{LOGS['features']}.benchmark.jsonl")
        conda:
            ENVIRONMENT
        # On a CPU the jobs of several machines share the cores; a GPU is kept busy by several threads that decode.
        threads: batch.of(lambda known: 4 if gpu_of(known) else 1)
        resources:
            **asks(
                gpu=batch.sized(gpus),
                mem_mb=batch.sized(reading_memory),
                runtime=listening_minutes(batch),
            ),
            **without_rerun(batch),
        params:
            jobs=batch.each(features_job),
            fingerprints=batch.each(fingerprint_of),
            settings=batch.of(lambda known: run_of(known).feature_settings),
            code=code_of("features"),
        message:
            f"Log-mel features of {batch.title}"
        script:
            "../scripts/features.py"
