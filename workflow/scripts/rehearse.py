"""Write, check and judge the submission of a rehearsal."""

from typing import TYPE_CHECKING

from offnote.logs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0], "rehearsal"):
    from pathlib import Path

    from offnote.config import Settings
    from offnote.systems import ScoredRun, rehearse

    rehearse(
        Path(snakemake.output.summary).parent,
        [(ScoredRun.from_plain(sent), ScoredRun.from_plain(known)) for sent, known in snakemake.params.systems],
        Settings(**snakemake.params.first),
        snakemake.params.played,
        {stage: [Path(file) for file in files] for stage, files in snakemake.params.benchmarks.items()},
    )
