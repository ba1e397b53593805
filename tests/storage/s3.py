"""A server that speaks S3, on this computer, and runs whose recordings and results lie there."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from tests.workflow.runs import TINY_DEMO

BUCKET = "sounds"

RECORDINGS = "results/cache/demo"

DEMO: dict[str, Any] = TINY_DEMO | {"run": "small", "dataset": {"machines": ["rotor/id_00"]}}


@dataclass
class Storage:
    """A server, and a client of its own to look at what is there.

    Attributes
    ----------
    port
        Chosen by the kernel at the first start, and kept.
    """

    port: int = 0

    def start(self) -> None:
        """Start the server; what it held before a stop is still there."""
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        # It would tell of each request, of which there are thousands.
        logging.getLogger("werkzeug").disabled = True
        self._server.start()
        self.port = self._server.get_host_and_port()[1]

    def stop(self) -> None:
        """Stop the server, as if it or the network were away."""
        self._server.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What a user sets for Snakemake."""
        return {
            "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "anyone",
            "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "anything",
        }

    @property
    def bucket(self) -> Any:
        """The one bucket."""
        keys = {"aws_access_key_id": "anyone", "aws_secret_access_key": "anything", "region_name": "us-east-1"}
        return boto3.resource("s3", endpoint_url=f"http://127.0.0.1:{self.port}", **keys).Bucket(BUCKET)

    def put(self, folder: Path, prefix: str) -> None:
        """Copy every recording below a folder to the storage."""
        for path in sorted(folder.rglob("*.wav")):
            self.bucket.Object(f"{prefix}/{path.relative_to(folder).as_posix()}").upload_file(path)

    def files(self, prefix: str) -> dict[str, bytes]:
        """Return what lies below a prefix, by path."""
        found = self.bucket.objects.filter(Prefix=f"{prefix}/")
        return {item.key.removeprefix(f"{prefix}/"): item.get()["Body"].read() for item in found}


def from_folder(path: str) -> dict[str, Any]:
    """Return the configuration of a run over the recordings below a folder, here or in the storage."""
    return DEMO | {"dataset": {"name": "plant", "path": path, "machines": ["rotor/id_00"]}}


def to_storage(prefix: str) -> list[str]:
    """Return the options that have results go to the storage."""
    return ["--default-storage-provider", "s3", "--default-storage-prefix", f"s3://{BUCKET}/{prefix}"]


def outcome(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return what is to be the same wherever recordings and results lie, by path below the results."""
    kinds = ("models/", "scores/", "tables/")
    paths = {path.removeprefix("results/"): content for path, content in files.items()}
    return {
        path: content for path, content in paths.items() if path.startswith(tuple(f"small/{kind}" for kind in kinds))
    }


def computers(folder: Path) -> list[str]:
    """Return the options that send each job to a computer that shares no disk: here, an empty folder for each.

    The programs of the environment are the same ones everywhere, as those of an image would be.
    """
    (folder / "nodes").mkdir()
    submit, status = folder / "submit", folder / "status"
    submit.write_text(SUBMIT.format(nodes=folder / "nodes"), encoding="utf-8")
    status.write_text(STATUS, encoding="utf-8")
    for program in (submit, status):
        program.chmod(0o700)
    engine = ["--executor", "cluster-generic", "--cluster-generic-submit-cmd", str(submit)]
    engine += ["--cluster-generic-status-cmd", str(status), "--seconds-between-status-checks", "1", "--jobs", "2"]
    return [*engine, "--shared-fs-usage", "none", "--job-deploy-sources", "--latency-wait", "5"]


SUBMIT = """#!/bin/bash
node=$(mktemp -d {nodes}/XXXXXX) && cp "${{@: -1}}" "$node/job.sh" && cd "$node" || exit 1
(bash job.sh > log 2>&1; echo $? > ended.part; mv ended.part ended) > /dev/null 2>&1 &
echo "$node"
"""

STATUS = """#!/bin/bash
case "$(cat "$1/ended" 2> /dev/null)" in
    "") echo running ;;
    0) echo success ;;
    *) echo failed ;;
esac
"""
