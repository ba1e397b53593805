"""The one place that decides where tensors live and how many threads work on them.

Only the functions that hand out a torch device import torch: the Snakefile asks :func:`gpus` before any job starts.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from offnote.errors import InputError
from offnote.logs import log

if TYPE_CHECKING:
    import torch


class Driver(NamedTuple):
    """An NVIDIA driver: its version, and the major version of CUDA that it runs at most."""

    version: str
    cuda: int


def gpus() -> int:
    """Count the NVIDIA GPUs this process may use, without importing torch or waking the GPU.

    ``CUDA_VISIBLE_DEVICES``, where a scheduler or the user has set it, narrows the count.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    installed = len(gpu_names())
    if visible is None:
        return installed
    return min(installed, len([name for name in visible.split(",") if name.strip() not in ("", "-1")]))


def gpu_names() -> list[str]:
    """Name the NVIDIA GPUs that the driver sees; none where there is no driver."""
    with _driver_library() as library:
        if library is None:
            return []
        handles = [library.nvmlDeviceGetHandleByIndex(index) for index in range(library.nvmlDeviceGetCount())]
        return [str(library.nvmlDeviceGetName(handle)) for handle in handles]


def driver() -> Driver | None:
    """Return the NVIDIA driver; None where there is none."""
    with _driver_library() as library:
        if library is None:
            return None
        return Driver(str(library.nvmlSystemGetDriverVersion()), library.nvmlSystemGetCudaDriverVersion_v2() // 1000)


@contextmanager
def _driver_library() -> Iterator[Any]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def gpu_expected(device: str, require_gpu: bool) -> bool:
    """Tell, before any job starts, whether jobs of these settings are to ask the scheduler for a GPU."""
    return device == "cuda" or require_gpu or (device == "auto" and gpus() > 0)


def choose(device: str, require_gpu: bool = False) -> torch.device:
    """Return the device to compute on, and log which one it is.

    Parameters
    ----------
    device
        ``auto`` (CUDA where torch finds it, else the CPU), ``cpu`` or ``cuda``.
    require_gpu
        Refuse to fall back to the CPU.

    Raises
    ------
    InputError
        A GPU was asked for and torch finds none, or ``cpu`` was asked for together with `require_gpu`.
    """
    import torch

    if device == "cpu" and require_gpu:
        raise InputError("device is 'cpu' and require_gpu is true: set one of the two")
    found = device != "cpu" and torch.cuda.is_available()
    if not found and (device == "cuda" or require_gpu):
        raise InputError(
            f"a GPU is required (device: {device}, require_gpu: {str(require_gpu).lower()}), and torch finds none; "
            "run `offnote doctor` to see why, or set device: auto and require_gpu: false"
        )
    chosen = torch.device("cuda" if found else "cpu")
    if chosen.type == "cuda":
        _make_cuda_repeatable()
    log.info("device: %s", ", ".join(f"{key} {value}" for key, value in describe(chosen).items()))
    return chosen


def set_threads(threads: int) -> None:
    """Give torch `threads` threads for its arithmetic on the CPU, no more."""
    import torch

    torch.set_num_threads(threads)


def require_threads(wanted: int, given: int) -> None:
    """Stop a job that was given fewer threads than its recipe names: it would compute other last digits.

    Raises
    ------
    InputError
        `given` is less than `wanted`.
    """
    if given < wanted:
        raise InputError(
            f"model.threads is {wanted}, part of the recipe, and this job was given {given}: "
            f"run with --cores {wanted} or more, or lower model.threads"
        )


def describe(device: torch.device) -> dict[str, str | int]:
    """Describe a device as results name it: no host, nothing that differs between two runs on equal machines."""
    import torch

    described: dict[str, str | int] = {"type": device.type}
    if device.type == "cuda":
        described["name"] = torch.cuda.get_device_name(device)
        described["cuda"] = str(torch.version.cuda)
    else:
        described["capability"] = torch.backends.cpu.get_cpu_capability()
        described["threads"] = torch.get_num_threads()
    return described | {"torch": str(torch.__version__)}


def _make_cuda_repeatable() -> None:
    """Have CUDA libraries give the same bits every time; cuBLAS reads its variable when its first handle is made."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
