"""Write the tables of a run."""

from typing import TYPE_CHECKING

from offnote.logs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0], f"evaluate {snakemake.wildcards.run}"):
    from pathlib import Path

    from offnote.config import Evaluate
    from offnote.evaluation import MachineScores, evaluate

    evaluate(
        [MachineScores.from_plain(job) for job in snakemake.params.machines],
        clips=Path(snakemake.input.clips),
        folder=Path(snakemake.output[0]).parent,
        settings=Evaluate(**snakemake.params.settings),
        run=snakemake.wildcards.run,
        broken_clips=snakemake.params.broken_clips,
    )
