"""Write the resolved configuration and the manifest of a run."""

from typing import TYPE_CHECKING

from offnote.logs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0], f"manifest {snakemake.wildcards.run}"):
    from pathlib import Path

    from offnote.config import Settings
    from offnote.manifest import write_manifest

    write_manifest(
        Settings(**snakemake.params.settings),
        clips=Path(snakemake.input.clips),
        caches=[Path(path) for path in snakemake.input.caches],
        models=[Path(path) for path in snakemake.input.models],
        scores=[Path(path) for path in snakemake.input.scores],
        tables=[Path(path) for path in snakemake.input.tables],
        stages=snakemake.params.stages,
        root=Path(snakemake.params.root),
        config=Path(snakemake.output.config),
        manifest=Path(snakemake.output.manifest),
    )
