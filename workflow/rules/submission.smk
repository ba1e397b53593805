# DCASE Task 2: what its evaluators say of a run, and what is sent to them (`snakemake submission`).


rule official:
    input:
        lambda wildcards: files_of(judged_run(RUNS[wildcards.run])),
    output:
        [told(f"{OFFICIAL}/{file}", "official", f"official, {file}") for file in OFFICIAL_FILES],
    log:
        "logs/official/{run}.log",
    benchmark:
        "logs/official/{run}.benchmark.jsonl"
    conda:
        ENVIRONMENT
    resources:
        **asks(mem_mb=1000, runtime=30),
    params:
        run=lambda wildcards: placed_run(judged_run(RUNS[wildcards.run])),
        code=code_of("official"),
    message:
        "Judge the run {wildcards.run} as the challenge does"
    script:
        "../scripts/official.py"


if SENT:

    rule submission:
        input:
            **submission_inputs(SENT.systems),
            reports=list(map(local, SENT.reports)),
        output:
            # What is marked stays until the job replaces it, and comes back where the job fails: the last good
            # submission is not lost. Then the check is missing, by which Snakemake knows that the job is to do again.
            check=f"{SUBMISSION.format(run=SHARED.run)}/{CHECK}",
            package=[update(f"{SUBMISSION.format(run=SHARED.run)}/{file}") for file in SENT.files],
        log:
            "logs/submission/submission.log",
        benchmark:
            "logs/submission/submission.benchmark.jsonl"
        conda:
            ENVIRONMENT
        resources:
            **asks(mem_mb=2000, runtime=30),
        params:
            systems=[placed_run(scored_run(run, run.machines)) for run in SENT.systems],
            first=settings_told(SHARED),
            code=code_of("submission"),
        message:
            "Write the submission"
        script:
            "../scripts/submission.py"


if REHEARSALS:

    rule rehearse:
        input:
            scored=rehearsal_inputs(SENT.systems),
            reports=list(map(local, SENT.reports)),
        output:
            summary=f"{REHEARSAL.format(run=SHARED.run)}/rehearsal.md",
        log:
            "logs/rehearse/rehearse.log",
        benchmark:
            "logs/rehearse/rehearse.benchmark.jsonl"
        conda:
            ENVIRONMENT
        resources:
            **asks(mem_mb=2000, runtime=30),
        params:
            systems=[[placed_run(scored) for scored in rehearsed_run(run)] for run in SENT.systems],
            first=settings_told(SHARED),
            benchmarks=benchmarks_of(list(REHEARSALS.values())),
            played=clips_played(REHEARSALS[SENT.systems[0].settings.run]),
            code=code_of("rehearse"),
        message:
            "Rehearse the evaluation phase"
        script:
            "../scripts/rehearse.py"
