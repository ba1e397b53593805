"""A small cluster on this computer: Debian's Slurm, one controller, two nodes that each have a pretended GPU.

Slurm's daemons want root, and the system-wide folder of their configuration: the jobs that Snakemake submits are not
told of another one. A computer that is part of a real cluster is left alone.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SYSTEM = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf", "cgroup.conf")
NODES = ("n1", "n2")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "srun")

# Jobs are looked at every second for memory, and those that take too much are ended. Nodes are declared with more than
# this computer may have, which SlurmdParameters has Slurm believe.
CONFIGURATION = """\
ClusterName=offnote
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CryptoType=crypto/munge
SlurmctldPort=16817
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
GresTypes=gpu
MinJobAge=3600
InactiveLimit=0
KillWait=2
SlurmctldTimeout=30
SlurmdTimeout=10
UnkillableStepTimeout=5
DefMemPerCPU=500
NodeName=n[1-2] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[16818-16819] CPUs=4 RealMemory=16000 Gres=gpu:1
PartitionName=all Nodes=n[1-2] Default=YES MaxTime=1440 State=UP
"""


@dataclass(frozen=True)
class Job:
    """What Slurm says of a job: its number and, by name, everything that `scontrol show job` prints."""

    number: int
    facts: Mapping[str, str]

    @property
    def state(self) -> str:
        """Where the job stands, such as ``RUNNING``."""
        return self.facts["JobState"]

    @property
    def ended(self) -> bool:
        """Whether it neither runs nor waits for its turn any more."""
        return self.state not in {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}

    @property
    def gpus(self) -> int:
        """How many GPUs the job was given."""
        found = re.search(r"gres:gpu:(\d+)", self.facts.get("TresPerJob", ""))
        return int(found[1]) if found else 0


class Slurm:
    """A running cluster.

    Parameters
    ----------
    folder
        For its state and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def running(self) -> Iterator[Slurm]:
        """Start the daemons, and stop them in the end."""
        self._write_configuration()
        try:
            self._start_munge()
            _run("slurmctld", "-i")
            for node in NODES:
                self.start_node(node)
            wait("the nodes are not idle", lambda: self.node_states() == {"idle"})
            yield self
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop the daemons, and take the system-wide configuration away."""
        _run("scancel", "--user", "root", check=False)
        for name in (*(f"slurmd.{node}" for node in NODES), "slurmctld", "munged"):
            self._stop(name)
        for name in FILES:
            (SYSTEM / name).unlink(missing_ok=True)

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        _run("slurmd", "-N", node)

    def kill_node(self, node: str) -> None:
        """Kill a node as a loss of power would: its daemon, and all that its jobs run."""
        running = [job.number for job in self.jobs() if job.state == "RUNNING" and job.facts["NodeList"] == node]
        _kill(int((self.folder / f"slurmd.{node}.pid").read_text()))
        for number in running:
            for pid in processes_of(number):
                _kill(pid)

    def submit(self, *command: str, folder: Path, environment: Mapping[str, str]) -> int:
        """Submit a script with sbatch, and return the number of the job."""
        return int(_run("sbatch", "--parsable", f"--chdir={folder}", *command, environment=environment))

    def requeue(self, number: int, *, by_itself: bool = False) -> None:
        """Stop a job and put it into the queue again, as a preemption does, or tell it that its time is nearly over."""
        if by_itself:
            _run("scancel", "--batch", "--signal=USR1", str(number))
        else:
            _run("scontrol", "requeue", str(number))
        wait("not in the queue again", lambda: self.job(number).state == "PENDING")
        wait("not stopped", lambda: not processes_of(number) and self.node_states() == {"idle"})
        # A node counts whole seconds, and takes a start in the second of the stop for one of the stopped job's: it
        # refuses it ("Job credential revoked").
        time.sleep(2)
        # Otherwise Slurm lets two minutes go by.
        _run("scontrol", "update", f"JobId={number}", "StartTime=now")

    def node_states(self) -> set[str]:
        """Return the states of the nodes, such as ``idle``."""
        return set(_run("sinfo", "--noheader", "--Node", "--format", "%T", check=False).split())

    def jobs(self) -> list[Job]:
        """Return all jobs since the start, in the order of submission."""
        shown = _run("scontrol", "--oneliner", "show", "job", check=False)
        facts = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in shown.splitlines() if line.startswith("JobId=")]
        return sorted((Job(int(fact["JobId"]), fact) for fact in facts), key=lambda job: job.number)

    def job(self, number: int) -> Job:
        """Return the job with this number."""
        return next(job for job in self.jobs() if job.number == number)

    def _write_configuration(self) -> None:
        for name in ("state", *(f"spool.{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True)
        texts = {
            "slurm.conf": CONFIGURATION.format(folder=self.folder),
            "gres.conf": "".join(f"NodeName={node} Name=gpu File=/dev/null\n" for node in NODES),
            "cgroup.conf": "CgroupPlugin=cgroup/v1\n",
        }
        SYSTEM.mkdir(exist_ok=True)
        for name, text in texts.items():
            (self.folder / name).write_text(text)
            (SYSTEM / name).symlink_to(self.folder / name)

    def _start_munge(self) -> None:
        """Start the daemon that vouches for who sends a message, with a key of its own."""
        key, socket = self.folder / "munge.key", self.folder / "munge.sock"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        options = {"key-file": key, "socket": socket, "pid-file": self.folder / "munged.pid"}
        options |= {"log-file": self.folder / "munged.log", "seed-file": self.folder / "munged.seed"}
        _run("munged", "--force", *(f"--{name}={value}" for name, value in options.items()))
        wait("munged does not start", socket.exists)

    def _stop(self, name: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            pid = int((self.folder / f"{name}.pid").read_text())
            os.kill(pid, signal.SIGTERM)
            wait(f"{name} does not end", lambda: not Path(f"/proc/{pid}").exists())


def why_not() -> str:
    """Say why no cluster can be started here; empty where one can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"{missing[0]} is missing: apt-get install slurmctld slurmd slurm-client munge"
    if os.geteuid() != 0:
        return "Slurm's daemons are started by root only"
    if (SYSTEM / FILES[0]).is_symlink():
        # One of these tests was killed, and its cluster is left.
        Slurm((SYSTEM / FILES[0]).readlink().parent).stop()
    for name in FILES:
        if (SYSTEM / name).exists():
            return f"there is {SYSTEM / name}: this computer is part of a cluster already"
    return ""


def _run(*command: str, check: bool = True, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def processes_of(job: int) -> list[int]:
    """Return the processes of a Slurm job on this computer, and those by which Slurm watches over it."""
    inside, watching = f"SLURM_JOB_ID={job}".encode(), f"slurmstepd: [{job}.".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = (folder / "environ").read_bytes().split(b"\0")
            if inside in variables or (folder / "cmdline").read_bytes().startswith(watching):
                found.append(int(folder.name))
    return found


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait(what: str, ready: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something is so."""
    give_up = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > give_up:
            raise TimeoutError(f"{what} after {seconds:.0f} s")
        time.sleep(0.1)
