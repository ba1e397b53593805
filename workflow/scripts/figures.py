"""Draw the figures of one machine, or of several, one after the other."""

from typing import TYPE_CHECKING

from offnote.logs import Mistakes, job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

machines = ", ".join(f"{job['machine_type']}/{job['machine_id']}" for job in snakemake.params.jobs)

with job_log(snakemake.log[0], f"figures of {machines}"):
    from pathlib import Path

    from offnote.clips import Clip, Machine
    from offnote.config import Evaluate
    from offnote.report import draw_machine

    folders = dict.fromkeys(Path(path).parent for path in snakemake.output)
    mistakes = Mistakes()
    for job, folder in zip(snakemake.params.jobs, folders, strict=True):
        with mistakes.gathered():
            draw_machine(
                Machine(job["machine_type"], job["machine_id"]),
                scores=[Path(path) for path in job["scores"]],
                losses=[Path(path) for path in job["losses"]],
                clips=[Clip(*row) for row in job["clips"]],
                folder=folder,
                settings=Evaluate(**snakemake.params.settings),
            )
    mistakes.report()
