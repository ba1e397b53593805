"""Write the feature caches of one machine, or of several, one after the other."""

from typing import TYPE_CHECKING

from offnote.logs import Mistakes, job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

machines = ", ".join(job["machine"] for job in snakemake.params.jobs)

with job_log(snakemake.log[0], f"features of {machines}"):
    import gc
    from pathlib import Path

    from offnote.clips import Entry
    from offnote.config import Audio, Features, Gate, Slice
    from offnote.features import extract

    # What the imports have made stays. To search it for garbage, once in some 1500 clips, takes as long as 100 clips.
    gc.freeze()
    settings = snakemake.params.settings
    mistakes = Mistakes()
    for job, output in zip(snakemake.params.jobs, snakemake.output, strict=True):
        with mistakes.gathered():
            extract(
                [Entry(*row) for row in job["clips"]],
                Path(job["root"]),
                Path(output),
                audio=Audio(**settings["audio"]),
                slicing=Slice(**settings["slice"]),
                gate=Gate(**settings["gate"]),
                features=Features(**settings["features"]),
                device=snakemake.resources.device,
                require_gpu=snakemake.resources.require_gpu == "true",
                broken_clips=snakemake.resources.broken_clips,
                threads=snakemake.threads,
                elsewhere=job["elsewhere"],
            )
    mistakes.report()
