"""Write what the names of the demo set's evaluation clips do not tell, as evaluators publish it."""

from typing import TYPE_CHECKING

from offnote.logs import job_log

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0], "ground truth"):
    from pathlib import Path

    from offnote.config import Demo
    from offnote.files import replacing
    from offnote.synthetic_challenge import ground_truth

    texts = ground_truth(Demo(**snakemake.params.demo)).values()
    for path, text in zip(snakemake.output, texts, strict=True):
        with replacing(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
