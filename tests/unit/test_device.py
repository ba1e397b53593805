"""Where tensors live."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from offnote import device
from offnote.errors import InputError
from offnote.processor import is_of_amd

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")

# The part of NVML that is used. The GPUs of the machine stand in PRETEND_GPUS as UUID=model, or as "closed".
PRETEND_NVML = """
import os

class NVMLError(Exception): ...

def nvmlInit(): ...
def nvmlShutdown(): ...
def nvmlSystemGetDriverVersion(): return "580.1"
def nvmlSystemGetCudaDriverVersion_v2(): return int(os.environ.get("PRETEND_CUDA", "99000"))
def nvmlDeviceGetCount(): return len(os.environ["PRETEND_GPUS"].split(","))
def nvmlDeviceGetHandleByIndex(index):
    entry = os.environ["PRETEND_GPUS"].split(",")[index]
    if entry == "closed":
        raise NVMLError("no permission")
    return entry.partition("=")
def nvmlDeviceGetUUID(handle): return handle[0]
def nvmlDeviceGetName(handle): return handle[2]
"""

# The part of torch that `choose` uses, on a machine whose GPUs are all fit for use.
PRETEND_TORCH = """
from types import SimpleNamespace as Part

__version__, version = "0", Part(cuda="13.0")
device = lambda name: Part(type=name)
cuda = Part(is_available=lambda: True, is_initialized=lambda: False, get_device_name=lambda device: "pretend")
backends = Part(cuda=Part(matmul=Part()), cudnn=Part())
use_deterministic_algorithms = lambda wanted: None
"""

# A job: it takes a GPU, takes it again, says which, and works until it is killed, by the test or by its own alarm.
JOB = """
import logging, os, signal, sys
from offnote import device

signal.alarm(60)
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
device.SECONDS_BETWEEN_TRIES = 0.05
assert device.choose("auto").type == "cuda"
taken = os.environ["CUDA_VISIBLE_DEVICES"]
device.choose("cuda")
assert os.environ["CUDA_VISIBLE_DEVICES"] == taken and device.gpus() == 1
print("works on", taken, flush=True)
signal.pause()
"""

ONE, TWO, THREE = "GPU-1a000000-0000", "GPU-1b000000-0000", "GPU-2c000000-0000"
EQUAL = ",".join(f"{uuid}=H100" for uuid in (ONE, TWO, THREE))
MIXED = f"{ONE}=T400,{TWO}=H100,{THREE}=H100"


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that sets the GPUs of a pretend machine and what the environment says of them."""

    def pretend(installed: str, visible: str | None = None, order: str | None = None) -> None:
        module = ModuleType("pynvml")
        exec(PRETEND_NVML, module.__dict__)
        monkeypatch.setitem(sys.modules, "pynvml", module)
        monkeypatch.setenv("PRETEND_GPUS", installed)
        for name, value in (("CUDA_VISIBLE_DEVICES", visible), ("CUDA_DEVICE_ORDER", order)):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    return pretend


def test_cpu_is_always_there() -> None:
    chosen = device.choose("cpu")
    assert chosen == torch.device("cpu")
    described = device.describe(chosen)
    assert described["type"] == "cpu"
    assert described["capability"] == torch.backends.cpu.get_cpu_capability()
    assert described["processor"] == ("AMD" if is_of_amd() else "other")
    assert not device.gpu_expected("cpu", require_gpu=False)


@no_gpu
def test_without_a_gpu() -> None:
    assert device.choose("auto") == torch.device("cpu")
    assert not device.gpu_expected("auto", require_gpu=False)
    for asked, required in (("cuda", False), ("auto", True)):
        assert device.gpu_expected(asked, required)
        with pytest.raises(InputError, match="offnote doctor"):
            device.choose(asked, required)


@needs_gpu
def test_with_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    # A GPU that is named is not waited for, whatever else works on it.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", "0"))
    assert device.choose("auto", require_gpu=True).type == "cuda"
    assert device.gpus() >= 1
    assert device.driver() is not None


def test_cpu_and_required_gpu_contradict_each_other() -> None:
    with pytest.raises(InputError, match="set one of the two"):
        device.choose("cpu", require_gpu=True)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [ONE, TWO, THREE]),
        ("", []),
        ("-1", []),
        ("0", [ONE]),
        ("2, 0", [THREE, ONE]),
        ("1,-1,0", [TWO]),
        ("1,3,0", [TWO]),
        ("one,0", []),
        ("0,1,0", []),
        (THREE, [THREE]),
        ("GPU-2,GPU-1b", [THREE, TWO]),
        ("GPU-1,GPU-2", []),
        ("GPU-2,GPU-9,GPU-1a", [THREE]),
        ("2,GPU-1a", [THREE, ONE]),
        ("0,GPU-1a", []),
        ("MIG-3d,MIG-GPU-1a/1/0", ["MIG-3d", "MIG-GPU-1a/1/0"]),
    ],
)
def test_a_scheduler_narrows_and_orders_the_gpus(
    nvml: Callable[..., None], visible: str | None, expected: list[str]
) -> None:
    nvml(EQUAL, visible)
    assert device.visible_gpus() == expected
    assert device.gpus() == len(expected)
    assert device.gpu_names() == ["H100"] * 3
    assert device.gpu_expected("auto", require_gpu=False) == bool(expected)


def test_an_index_is_a_uuid_only_where_cuda_counts_as_nvml_does(nvml: Callable[..., None]) -> None:
    for order in (None, "FASTEST_FIRST"):
        nvml(MIXED, "1,0,GPU-2", order)
        assert device.visible_gpus() == ["1", "0", THREE]
    nvml(MIXED, "1,0", "PCI_BUS_ID")
    assert device.visible_gpus() == [TWO, ONE]
    nvml(MIXED)
    assert device.visible_gpus() == [ONE, TWO, THREE]


def test_a_gpu_that_is_closed_to_the_job_is_not_counted(nvml: Callable[..., None]) -> None:
    nvml(f"{ONE}=H100,closed,{THREE}=H100", "1")
    assert device.visible_gpus() == [THREE]


@pytest.fixture
def pretend_cuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have torch say that it finds a GPU, without touching one; locks are the test's own, and to wait is a failure."""

    def wait(_: float) -> None:
        raise AssertionError("it waits for a GPU")

    monkeypatch.setattr(time, "sleep", wait)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "pretend")
    monkeypatch.setattr(device, "_make_cuda_repeatable", lambda: None)


def locks(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("offnote-gpus-*/*"))


@pytest.mark.parametrize(
    ("installed", "visible", "taken", "locked"),
    [
        (EQUAL, None, ONE, [ONE]),
        (EQUAL, "2,1", THREE, [THREE]),
        (EQUAL, "2", "2", []),
        (EQUAL, "GPU-2", "GPU-2", []),
        (EQUAL, "2,-1", "2,-1", []),
        (EQUAL, "MIG-3d", "MIG-3d", []),
        (EQUAL, "MIG-GPU-1a/1/0,MIG-3d", "MIG-GPU-1a/1/0", ["MIG-GPU-1a_1_0"]),
        (MIXED, "2,1", "2", ["2"]),
        (f"{ONE}=H100", None, ONE, [ONE]),
    ],
)
@pytest.mark.usefixtures("pretend_cuda")
def test_a_job_takes_the_first_gpu_and_leaves_a_single_named_one_alone(
    nvml: Callable[..., None], tmp_path: Path, installed: str, visible: str | None, taken: str, locked: list[str]
) -> None:
    nvml(installed, visible)
    for _ in range(2):
        assert device.choose("auto").type == "cuda"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == taken
        assert locks(tmp_path) == locked
    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in tmp_path.iterdir())


@pytest.mark.parametrize("reason", ["cpu", "no build", "old driver", "no driver", "awake", "hidden"])
@pytest.mark.usefixtures("pretend_cuda")
def test_where_no_gpu_can_be_taken_there_is_no_wait(
    nvml: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reason: str
) -> None:
    nvml(EQUAL, "" if reason == "hidden" else None)
    monkeypatch.setattr(device, "_lock", lambda path: None)
    if reason == "no build":
        monkeypatch.setattr(torch.version, "cuda", None)
    if reason == "old driver":
        monkeypatch.setenv("PRETEND_CUDA", "12090")
    if reason == "no driver":
        monkeypatch.setattr(device, "driver", lambda: None)
    if reason == "awake":
        monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    device.choose("cpu" if reason == "cpu" else "auto")
    assert locks(tmp_path) == []


@pytest.mark.usefixtures("pretend_cuda")
def test_a_gpu_that_torch_does_not_find_is_given_back(
    nvml: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    nvml(EQUAL)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose("auto").type == "cpu"
    lock = device._lock(tmp_path / f"offnote-gpus-{os.getuid()}" / ONE)
    assert lock is not None
    os.close(lock)


@pytest.mark.usefixtures("pretend_cuda")
def test_a_folder_of_locks_that_cannot_be_used_is_named(
    nvml: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / f"offnote-gpus-{os.getuid()}"
    nvml(EQUAL)
    folder.touch()
    with pytest.raises(InputError, match=r"cannot be made .* set TMPDIR"):
        device.choose("auto")
    folder.unlink()
    (folder / ONE).mkdir(parents=True)
    with pytest.raises(InputError, match=f"{ONE}: cannot be locked"):
        device.choose("auto")
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    folder.rename(tmp_path / "offnote-gpus-12345")
    with pytest.raises(InputError, match="belongs to another user"):
        device.choose("auto")


class Job:
    """A process of its own that works on a GPU of a pretend machine until it is killed."""

    def __init__(self, folder: Path, visible: str | None) -> None:
        (folder / "pretend").mkdir(exist_ok=True)
        (folder / "pretend" / "pynvml.py").write_text(PRETEND_NVML)
        (folder / "pretend" / "torch.py").write_text(PRETEND_TORCH)
        package = str(Path(device.__file__).parents[1])
        environment = {key: value for key, value in os.environ.items() if not key.startswith("CUDA_")} | {
            "PYTHONPATH": os.pathsep.join([str(folder / "pretend"), package]),
            "TMPDIR": str(folder),
            "PRETEND_GPUS": f"{ONE}=H100,{TWO}=H100",
        }
        if visible is not None:
            environment["CUDA_VISIBLE_DEVICES"] = visible
        self.process = subprocess.Popen(
            [sys.executable, "-c", JOB],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self, start: str) -> str:
        """Return the rest of the next line of output that begins so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(start):
                return line.removeprefix(start).strip()
        raise AssertionError(f"the job ended with status {self.process.wait()} before it said {start!r}")

    def gpu(self) -> str:
        """Return the GPU it works on, once it has one."""
        return self.line("works on")

    def kill(self) -> None:
        """End it as the kernel ends a job that takes too much memory."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Return a function that starts a job with or without CUDA_VISIBLE_DEVICES; all are killed after the test."""
    jobs: list[Job] = []

    def started(visible: str | None = None) -> Job:
        jobs.append(Job(tmp_path, visible))
        return jobs[-1]

    yield started
    for job in jobs:
        job.kill()


def test_each_job_has_a_gpu_of_its_own_and_a_killed_one_leaves_it_to_the_next(start: Callable[..., Job]) -> None:
    first, second = start(), start()
    gpus = [first.gpu(), second.gpu()]
    assert sorted(gpus) == [ONE, TWO]
    third = start()
    assert third.line("INFO:offnote:waiting for a GPU:").startswith("other jobs have taken all 2")
    time.sleep(0.2)
    assert third.process.poll() is None
    second.kill()
    assert third.gpu() == gpus[1]


def test_jobs_that_name_a_gpu_otherwise_share_its_lock(start: Callable[..., Job]) -> None:
    assert start("1,0").gpu() == TWO
    assert start("GPU-1b,GPU-1a").gpu() == ONE
    waiting = start("0,1")
    waiting.line("INFO:offnote:waiting for a GPU:")
    # What a scheduler gives is not questioned, though another job of this user has it.
    assert start("GPU-1a").gpu() == "GPU-1a"
    assert waiting.process.poll() is None


def test_counting_gpus_does_not_import_torch() -> None:
    code = "import sys; from offnote import device; device.gpus(); device.driver(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_fewer_threads_than_the_recipe_names() -> None:
    device.require_threads(2, 2)
    with pytest.raises(InputError, match=r"model\.threads is 2.*was given 1"):
        device.require_threads(2, 1)
