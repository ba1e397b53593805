"""Write the demo recordings of one machine, or of several, one after the other."""

from typing import TYPE_CHECKING

from offnote.logs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

names = ", ".join("/".join(machine) for machine in snakemake.params.machines)

with job_log(snakemake.log[0], f"synthesise {names}"):
    from pathlib import Path

    from offnote import synthesis, synthetic_challenge
    from offnote.clips import Machine
    from offnote.config import Demo

    demo = Demo(**snakemake.params.demo)
    # Above machine type, folder and file.
    root = Path(snakemake.output[0]).parents[2]
    for machine_type, machine_id in snakemake.params.machines:
        if demo.year is None:
            synthesis.synthesise_machine(machine_type, machine_id, root, demo)
        else:
            synthetic_challenge.synthesise_machine(Machine(machine_type, machine_id), root, demo)
