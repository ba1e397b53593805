# Before the first job, and after the last: what is held and refused, and what stands on the screen in the end.
import time

from offnote.device import require_gpus, require_threads
from offnote.files import clear_leftovers, require_writable
from offnote.logs import failures
from offnote.supervision import end_with_workflow, glimpse, hold, hold_results

STARTED = time.time()

if workflow.is_main_process:
    try:
        # Snakemake itself writes there as soon as it has read this file.
        require_writable([Path.cwd() / ".snakemake"])
    except InputError as error:
        raise WorkflowError(str(error)) from None
    SEEN = glimpse(Path.cwd())
else:
    end_with_workflow()


onstart:
    get_ready()


onsuccess:
    show_summaries()


onerror:
    show_failures()


def get_ready():
    """Before the first job: hold the folder, clear what killed jobs left, and refuse what cannot be done here."""
    if not workflow.is_main_process:
        return
    needed = list(workflow.dag.needrun_jobs())
    try:
        hold(Path.cwd(), SEEN)
        hold_results([Path(placed("results")), Path(placed("results/cache"))])
        require_writable({Path(file).parent for job in needed for file in [*job.output, *job.log]})
        clear_leftovers(Path(placed("results")))
        if any(job.rule.name == "retrieve_archive" for job in needed):
            for folder in ("archives", *SHARED.retrieve.sets):
                clear_leftovers(RETRIEVED / folder)
        # On a cluster, --cores is the most that a job gets.
        if cores := workflow.resource_settings.cores:
            for job in needed:
                require_threads(job.params.get("threads", 1), cores)
        if workflow.local_exec:
            if any(job.resources.get("gpu", 0) for job in needed):
                require_gpus()
    except InputError as error:
        raise WorkflowError(str(error)) from None
    # What says how a run came out and is to be made again goes now: were the run to fail, it would pass for its result.
    for job in needed:
        if job.rule.name in ("evaluate", "official", "manifest", "rehearse") and not workflow.touch:
            for file in job.output:
                workflow.async_run(file.remove())


def show_summaries():
    """Show the tables on the screen, and say where to look next."""
    if any(job.rule.name == "retrieve" for job in workflow.dag.jobs):
        print(f"Recordings: {RETRIEVED}; name this folder as dataset.path")
        return
    if any(job.rule.name == "submission" for job in workflow.dag.jobs):
        folder = SUBMISSION.format(run=SHARED.run)
        print(f"Submission: {folder}/{SENT.files[0]}\n{brought(f'{folder}/{CHECK}').read_text(encoding='utf-8')}")
    if any(job.rule.name == "rehearse" for job in workflow.dag.jobs):
        print(brought(f"{REHEARSAL.format(run=SHARED.run)}/rehearsal.md").read_text(encoding="utf-8"))
    for name in ASKED:
        if not exists(f"results/{name}/tables/summary.md"):
            continue
        summary = brought(f"results/{name}/tables/summary.md")
        if summary.stat().st_mtime >= STARTED:
            print(summary.read_text(encoding="utf-8"))
        print(f"Tables: results/{name}/tables   figures: results/{name}/report")
    print("All on one page: the same snakemake command (with .venv active) and --report report.zip")


def show_failures():
    """Say once more, below all else, what failed: Snakemake's own messages fill the screen with lists of files."""
    for failure in failures(Path(placed("logs")), STARTED):
        print(f"offnote: {failure}")
