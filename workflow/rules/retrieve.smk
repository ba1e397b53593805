# The recordings of a year of DCASE Task 2 from Zenodo, an archive a job: `snakemake retrieve`.


# Not jobs of a cluster, whose nodes may be without network.
localrules:
    retrieve,
    retrieve_archive,


rule retrieve:
    input:
        [local(f"{RETRIEVED}/{archive.listed}") for archive in ARCHIVES.values()],
    message:
        "All recordings are there"


rule retrieve_archive:
    output:
        # Never in a storage: it stands for recordings beside it, which Snakemake knows nothing of.
        local(f"{RETRIEVED}/archives/{{archive}}.tsv"),
    log:
        "logs/retrieve/{archive}.log",
    benchmark:
        "logs/retrieve/{archive}.benchmark.jsonl"
    wildcard_constraints:
        archive="|".join(map(re.escape, ARCHIVES)),
    conda:
        ENVIRONMENT
    resources:
        **asks(mem_mb=500, runtime=1440),
        # Zenodo holds back those who ask for much at once: the profile says how many archives may load abreast.
        downloads=1,
        url=SHARED.retrieve.url,
        keep_archives=str(SHARED.retrieve.keep_archives).lower(),
        timeout=str(SHARED.retrieve.timeout),
        tries=SHARED.retrieve.tries,
    # No hash of the code: whatever it is, the record's checksum tells what comes out, and gigabytes are not loaded anew.
    params:
        archive=lambda wildcards: ARCHIVES[wildcards.archive]._asdict(),
    message:
        "Retrieve {wildcards.archive}"
    script:
        "../scripts/retrieve.py"
