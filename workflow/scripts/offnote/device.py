"""The one place that decides where tensors live and how many threads work on them.

Torch is imported within functions alone, none of which the Snakefile calls: it asks :func:`gpus` before any job starts.

Every job on a machine with several GPUs has one to itself: the one that ``CUDA_VISIBLE_DEVICES`` names, where a
scheduler or the user names a single one, and otherwise the first whose lock file is free. The kernel lets go of the
lock when the process ends, however it ends.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from offnote.errors import InputError
from offnote.files import lock
from offnote.logs import log
from offnote.processor import is_of_amd

if TYPE_CHECKING:
    import torch

    from offnote.config import Precision


VISIBLE = "CUDA_VISIBLE_DEVICES"
SECONDS_BETWEEN_TRIES = 1.0

RUNS_BEFORE_CAPTURE = 3
"""As PyTorch advises: libraries choose their ways and make room in the first runs, which cannot be captured."""

# Of glibc's malloc.h, and what they are set to: the first may not be more.
M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES = -3, 2**25
M_TRIM_THRESHOLD, MOST_KEPT_BYTES = -1, 2**30


class Driver(NamedTuple):
    """An NVIDIA driver: its version, and the major version of CUDA that it runs at most."""

    version: str
    cuda: int

    def suits_torch(self) -> bool:
        """Tell whether it runs the CUDA that torch was built for."""
        import torch

        return torch.version.cuda is not None and int(torch.version.cuda.split(".")[0]) <= self.cuda


class Gpu(NamedTuple):
    """An NVIDIA GPU: its UUID, ``GPU-`` and 36 characters, which no other one has, and the name of its model."""

    uuid: str
    name: str


def gpus() -> int:
    """Count the NVIDIA GPUs this process may use, without importing torch or waking the GPU.

    ``CUDA_VISIBLE_DEVICES``, where a scheduler or the user has set it, narrows the count.
    """
    return len(visible_gpus())


def gpu_names() -> list[str]:
    """Name the NVIDIA GPUs that the driver sees; none where there is no driver."""
    return [gpu.name for gpu in installed_gpus()]


def visible_gpus() -> list[str]:
    """List the GPUs this process may use, as ``CUDA_VISIBLE_DEVICES`` names and orders them.

    Returns
    -------
    list of str
        UUIDs, with two exceptions. A part of a GPU (``MIG-…``) goes by the name given, which is taken at its word:
        NVML knows no older or abbreviated ones. So does an index, where it may be another GPU to CUDA than to NVML.

    Notes
    -----
    Two rules are CUDA's own: it stops at the first entry that names no GPU, or more than one, and where one GPU is
    named twice it shows none at all.

    NVML counts GPUs as they sit on the bus. CUDA does so where ``CUDA_DEVICE_ORDER`` is ``PCI_BUS_ID`` and otherwise
    begins with the fastest, which makes a difference where the models differ.
    """
    installed = installed_gpus()
    named = os.environ.get(VISIBLE)
    if named is None or not installed:
        return [gpu.uuid for gpu in installed]
    usable = list(takewhile(bool, (_identify(entry.strip(), installed) for entry in named.split(","))))
    return usable if len(set(usable)) == len(usable) else []


def _identify(entry: str, installed: Sequence[Gpu]) -> str:
    """Say which GPU an entry of the variable means; nothing where it means none."""
    if entry.startswith("MIG-"):
        return entry
    if entry.startswith("GPU-"):
        matches = [gpu.uuid for gpu in installed if gpu.uuid.startswith(entry)]
        return matches[0] if len(matches) == 1 else ""
    if not entry.isdecimal() or int(entry) >= len(installed):
        return ""
    same_order = os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len({gpu.name for gpu in installed}) == 1
    return installed[int(entry)].uuid if same_order else entry


def installed_gpus() -> list[Gpu]:
    """List the NVIDIA GPUs that this process may open, in the order of the bus; none where there is no driver."""
    with _driver_library() as library:
        if library is None:
            return []
        found = []
        for index in range(library.nvmlDeviceGetCount()):
            try:
                handle = library.nvmlDeviceGetHandleByIndex(index)
            except library.NVMLError:
                # A scheduler's control group has closed it to this job, and CUDA does not count it either.
                continue
            found.append(Gpu(str(library.nvmlDeviceGetUUID(handle)), str(library.nvmlDeviceGetName(handle))))
        return found


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


def gpu_expected(device: str, require_gpu: bool, *, elsewhere: bool = False) -> bool:
    """Tell, before any job starts, whether jobs of these settings are to ask the scheduler for a GPU.

    Where they run on other computers (`elsewhere`) nothing is known of these, and ``auto`` asks for one.
    """
    return device == "cuda" or require_gpu or (device == "auto" and (elsewhere or gpus() > 0))


def choose(device: str, require_gpu: bool = False) -> torch.device:
    """Return the device to compute on, and log which one it is.

    With CUDA the process takes a GPU of its own and keeps it until it ends; CUDA shows it no other one. While all are
    taken it waits, whatever `device` says: the CPU's results have other last digits. Let nothing ask torch about CUDA
    before, for CUDA reads once which GPUs it is to show.

    Parameters
    ----------
    device
        ``auto`` (CUDA where torch finds it, else the CPU), ``cpu`` or ``cuda``.
    require_gpu
        Refuse to fall back to the CPU.

    Raises
    ------
    InputError
        A GPU was asked for and torch finds none, ``cpu`` was asked for together with `require_gpu`, or the folder of
        the GPUs' locks cannot be used.
    """
    import torch

    if device == "cpu" and require_gpu:
        raise InputError("device is 'cpu' and require_gpu is true: set one of the two")
    held = None if device == "cpu" else _take_gpu()
    found = device != "cpu" and torch.cuda.is_available()
    if not found and held is not None:
        os.close(held)
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


def _take_gpu() -> int | None:
    """Take a GPU that no other job has, waiting for one where needed, and have CUDA show this process no other.

    Returns
    -------
    int or None
        The descriptor that holds the GPU's lock. None where nothing was taken: torch cannot use a GPU here, or the
        process has its GPU already.
    """
    import torch

    # Once CUDA is awake it no longer reads the variable.
    awake: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    found = driver()
    if awake or found is None or not found.suits_torch():
        return None
    candidates = visible_gpus()
    # A single one that is named is a scheduler's choice, the user's, or what this process took before. Without any,
    # torch may still find a GPU that NVML does not know, on a board without NVML, and works on that.
    if not candidates or (len(candidates) == 1 and VISIBLE in os.environ):
        return None
    folder = _lock_folder()
    waiting = False
    while True:
        for candidate in candidates:
            held = _lock(folder / candidate.replace("/", "_"))
            if held is not None:
                os.environ[VISIBLE] = candidate
                log.info("GPU %s is taken, until this process ends", candidate)
                return held
        if not waiting:
            log.info(
                "waiting for a GPU: other jobs have taken all %d; to share one, name it in %s", len(candidates), VISIBLE
            )
        waiting = True
        time.sleep(SECONDS_BETWEEN_TRIES)


def _lock_folder() -> Path:
    """Make the folder of the GPUs' locks, one for all processes of this user on this machine."""
    folder = Path(tempfile.gettempdir()) / f"offnote-gpus-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); mend it, or set TMPDIR") from error
    if folder.lstat().st_uid != os.getuid():
        raise InputError(f"{folder} belongs to another user; have it removed, or set TMPDIR to a folder of your own")
    return folder


def _lock(path: Path) -> int | None:
    try:
        return lock(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be locked ({error.strerror}); mend it, or set TMPDIR") from error


def set_threads(threads: int) -> None:
    """Give torch `threads` threads for its arithmetic on the CPU, no more, and memory that it need not ask for anew."""
    import torch

    torch.set_num_threads(threads)
    _keep_freed_memory()


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


def require_gpus() -> None:
    """Stop, before any job, a workflow whose jobs need a GPU where none can be used.

    Raises
    ------
    InputError
        NVML finds none for this process.
    """
    if not gpus():
        raise InputError(
            "a GPU is required (device: cuda or require_gpu: true), and this machine has none that can be used; "
            "`offnote doctor` says more"
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
        # Libraries take other ways on AMD's processors, of which the last digits tell.
        described["processor"] = "AMD" if is_of_amd() else "other"
        described["threads"] = torch.get_num_threads()
    return described | {"torch": str(torch.__version__)}


@contextmanager
def products_in(precision: Precision, device: torch.device) -> Iterator[None]:
    """Compute the matrix products of a block in less precision than float32.

    Parameters
    ----------
    precision
        ``float32`` changes nothing, and ``tf32`` nothing but on a GPU that has it. With ``bfloat16`` weights and sums
        stay in float32.
    device
        Where the block computes.

    Examples
    --------
    >>> import torch
    >>> with products_in("bfloat16", torch.device("cpu")):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16
    """
    import torch

    if precision == "bfloat16":
        with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
            yield
        return
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def captured(work: Callable[[], None]) -> Callable[[], None]:
    """Capture what `work` has the GPU do, as a CUDA graph, and return what replays it by a single launch.

    Parameters
    ----------
    work : callable
        Is called some times. What it reads and changes has to lie where it lies now as long as it is replayed, and
        nothing in it may wait for the GPU.

    Raises
    ------
    RuntimeError
        PyTorch cannot capture it.
    """
    import torch

    current, aside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(current)
    with torch.cuda.stream(aside):
        for _ in range(RUNS_BEFORE_CAPTURE):
            work()
    current.wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    # A bound method, so that the graph lives as long as what replays it.
    return graph.replay


def _keep_freed_memory() -> None:
    """Have the C library keep freed memory of up to 32 MiB at a time, where it is glibc.

    Else every tensor of some hundred kB may be mapped anew, page by page, which can take longer than the work on it.
    """
    if (set_option := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        set_option(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        set_option(M_TRIM_THRESHOLD, MOST_KEPT_BYTES)


def _make_cuda_repeatable() -> None:
    """Have CUDA libraries give the same bits every time; cuBLAS reads its variable when its first handle is made."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
