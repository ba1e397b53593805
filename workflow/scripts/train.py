"""Train the models of one scope, or of several, one after the other."""

from typing import TYPE_CHECKING

from offnote.logs import Mistakes, job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

scopes = ", ".join(f"{job['scope']} trial {job['trial']}" for job in snakemake.params.jobs)

with job_log(snakemake.log[0], f"training of {scopes}"):
    from pathlib import Path

    from offnote.config import Model, Training, Window
    from offnote.detectors import fit_scope
    from offnote.device import require_threads
    from offnote.plan import CHECKPOINTS

    settings = snakemake.params.settings
    require_threads(snakemake.params.threads, snakemake.threads)
    mistakes = Mistakes()
    checkpoints = []
    for job, output in zip(snakemake.params.jobs, snakemake.output.models, strict=True):
        with mistakes.gathered():
            checkpoint = fit_scope(
                [Path(path) for path in job["caches"]],
                Path(output).parent,
                window=Window(**settings["window"]),
                model=Model(**settings["model"]),
                training=Training(**settings["training"]),
                seed=settings["seed"],
                trial=job["trial"],
                scope=job["scope"],
                device=snakemake.resources.device,
                require_gpu=snakemake.resources.require_gpu == "true",
                broken_clips=snakemake.resources.broken_clips,
                checkpoints=Path(CHECKPOINTS),
                checkpoint_seconds=snakemake.resources.checkpoint_seconds,
                code=snakemake.params.code,
            )
            checkpoints.append(checkpoint)
    mistakes.report()
    # Not one by one: where the job is killed, Snakemake takes all of its models away.
    for checkpoint in checkpoints:
        checkpoint.discard()
