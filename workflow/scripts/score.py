"""Score the clips of one machine, or of several, one after the other."""

from typing import TYPE_CHECKING

from offnote.logs import Mistakes, job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

machines = ", ".join(job["machine"] for job in snakemake.params.jobs)

with job_log(snakemake.log[0], f"scores of {machines}"):
    from pathlib import Path

    from offnote.device import require_threads
    from offnote.scoring import score_machine

    require_threads(snakemake.params.threads, snakemake.threads)
    mistakes = Mistakes()
    for job, output in zip(snakemake.params.jobs, snakemake.output.scores, strict=True):
        with mistakes.gathered():
            score_machine(
                Path(job["cache"]),
                Path(job["model"]),
                Path(output),
                quantiles=snakemake.params.quantiles,
                threads=snakemake.params.threads,
                device=snakemake.resources.device,
                require_gpu=snakemake.resources.require_gpu == "true",
                broken_clips=snakemake.resources.broken_clips,
            )
    mistakes.report()
