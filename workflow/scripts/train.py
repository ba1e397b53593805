"""Train the models of one scope, or of several, one after the other."""

from typing import TYPE_CHECKING

from offnote.logs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

names = ", ".join(f"{job['scope']} trial {job['trial']}" for job in snakemake.params.jobs)

with job_log(snakemake.log[0], f"training of {names}"):
    from pathlib import Path

    from offnote.config import Model, Training, Window
    from offnote.detectors import Scope, train
    from offnote.device import require_threads

    settings = snakemake.params.settings
    require_threads(snakemake.params.threads, snakemake.threads)
    train(
        [
            Scope(job["scope"], job["trial"], [Path(path) for path in job["caches"]], Path(output).parent)
            for job, output in zip(snakemake.params.jobs, snakemake.output.models, strict=True)
        ],
        window=Window(**settings["window"]),
        model=Model(**settings["model"]),
        training=Training(**settings["training"]),
        seed=settings["seed"],
        device=snakemake.resources.device,
        require_gpu=snakemake.resources.require_gpu == "true",
        broken_clips=snakemake.resources.broken_clips,
        checkpoints=Path(snakemake.params.checkpoints),
        checkpoint_seconds=snakemake.resources.checkpoint_seconds,
        code=snakemake.params.code,
    )
