"""offnote finds the off note in a machine's sound: anomalous sound detection as a Snakemake workflow."""

__version__ = "0.1.0"
