"""Draw the figures of one machine."""

from typing import TYPE_CHECKING

from offnote.logs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

machine_type, machine_id = snakemake.wildcards.machine_type, snakemake.wildcards.machine_id

with job_log(snakemake.log[0], f"figures {machine_type}/{machine_id}"):
    from pathlib import Path

    from offnote.clips import Clip
    from offnote.config import Evaluate
    from offnote.report import draw_machine

    draw_machine(
        machine_type,
        machine_id,
        scores=[Path(path) for path in snakemake.input.scores],
        losses=[Path(path) for path in snakemake.input.losses],
        clips=[Clip(*row) for row in snakemake.params.clips],
        roc=Path(snakemake.output.roc),
        histogram=Path(snakemake.output.histogram),
        loss=Path(snakemake.output.loss),
        settings=Evaluate(**snakemake.params.settings),
    )
