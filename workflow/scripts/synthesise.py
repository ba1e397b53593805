"""Write the demo recordings of one machine."""

from typing import TYPE_CHECKING

from offnote.logs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

machine_type, machine_id = snakemake.wildcards.machine_type, snakemake.wildcards.machine_id

with job_log(snakemake.log[0], f"synthesise {machine_type}/{machine_id}"):
    from pathlib import Path

    from offnote.config import Demo
    from offnote.plan import DEMO_FOLDER
    from offnote.synthesis import synthesise_machine

    synthesise_machine(machine_type, machine_id, Path(DEMO_FOLDER), Demo(**snakemake.params.demo))
