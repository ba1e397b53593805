# ROC, score histogram and loss curves of each machine.
FIGURE_GROUPS = [({"run": name}, RUNS[name].scored_machines) for name in ASKED]
# How Snakemake's report calls them.
FIGURE_TITLES = {"roc.svg": "ROC", "histogram.svg": "scores", "loss.svg": "loss"}


def drawn(batch, file):
    """Return the figures of one kind that a batch draws, one a machine, with their place in the report."""
    paths, names = batch.all(f"{FIGURES}/{file}"), batch.all("{run}|{machine_type}|{machine_id}")
    caption = f"../report/{Path(file).stem}.rst"
    figures = []
    for path, name in zip(paths, names):
        category, machine_type, machine_id = name.split("|")
        labels = {"machine": f"{machine_type}/{machine_id}", "figure": FIGURE_TITLES[file]}
        figures.append(report(path, caption=caption, category=category, subcategory=machine_type, labels=labels))
    return figures


for batch in in_batches("figures", FIGURE_GROUPS, SHARED.jobs.machines):

    rule:
        name:
            batch.name
        input:
            batch.together(figures_files),
        output:
            [figure for file in FIGURE_FILES for figure in drawn(batch, file)],
        log:
            batch.one("logs/figures/{run}/{machine_type}/{machine_id}.log"),
        benchmark:
            batch.one("logs/figures/{run}/{machine_type}/{machine_id}.benchmark.jsonl")
        group:
            "figures"
        conda:
            ENVIRONMENT
        resources:
            **asks(mem_mb=1000, runtime=10),
        # The rows of these machines, not the clip list of all: another machine's labels redraw nothing here.
        params:
            jobs=batch.each(figures_job),
            settings=batch.of(lambda known: run_of(known).settings.evaluate.model_dump()),
            code=code_of("figures"),
        message:
            f"Draw the figures of {batch.title}"
        script:
            "../scripts/figures.py"
