"""Write a submission: one system for each of its runs, and the archive."""

from typing import TYPE_CHECKING

from offnote.logs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0], "submission"):
    from pathlib import Path

    from offnote.config import Settings
    from offnote.systems import ScoredRun, submit

    submit(
        Path(snakemake.output.check).parent,
        [ScoredRun.from_plain(run) for run in snakemake.params.systems],
        Settings(**snakemake.params.first),
        [Path(path) for path in snakemake.input.manifests],
    )
