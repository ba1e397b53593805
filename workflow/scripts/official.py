"""Judge a run on the development set, as the evaluators of its challenge do."""

from typing import TYPE_CHECKING

from offnote.logs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0], f"official figures of {snakemake.wildcards.run}"):
    from pathlib import Path

    from offnote.official import write_tables
    from offnote.systems import ScoredRun, judge_run

    evaluation = judge_run(ScoredRun.from_plain(snakemake.params.run))
    write_tables(Path(snakemake.output[0]).parent, snakemake.wildcards.run, evaluation)
