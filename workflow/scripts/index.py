"""Write the clip list of a dataset."""

from typing import TYPE_CHECKING

from offnote.logs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0], f"index {snakemake.wildcards.dataset}"):
    from pathlib import Path

    from offnote.clips import Clip, write_clips

    write_clips(Path(snakemake.output[0]), (Clip(*row) for row in snakemake.params.rows))
