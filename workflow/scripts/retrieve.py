"""Download and unpack one archive of a year of DCASE Task 2."""

from typing import TYPE_CHECKING

from offnote.logs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0], f"retrieval of {snakemake.params.archive['name']}"):
    from pathlib import Path

    from offnote.retrieve import Archive, Patience, retrieve_archive

    retrieve_archive(
        Archive(**snakemake.params.archive),
        Path(snakemake.output[0]).parents[1],
        url=snakemake.resources.url,
        keep_archives=snakemake.resources.keep_archives == "true",
        patience=Patience(timeout=float(snakemake.resources.timeout), tries=snakemake.resources.tries),
    )
