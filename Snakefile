# offnote: from recordings to evaluation tables. `snakemake --cores 8` builds every run of config/config.yaml.
import os

from snakemake.utils import min_version

min_version("9.19")


# The folder that snakemake is started in may have a configuration of its own.
configfile: "config/config.yaml" if os.path.exists("config/config.yaml") else f"{workflow.basedir}/config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/hooks.smk"
include: "workflow/rules/retrieve.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/synthesise.smk"
include: "workflow/rules/index.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/manifest.smk"
include: "workflow/rules/submission.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        [results_of(run) for run in ASKED],
    message:
        "All results are there"
