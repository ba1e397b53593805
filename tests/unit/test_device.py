"""Where tensors live."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from offnote import device
from offnote.errors import InputError

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")


def test_cpu_is_always_there() -> None:
    chosen = device.choose("cpu")
    assert chosen == torch.device("cpu")
    described = device.describe(chosen)
    assert described["type"] == "cpu"
    assert described["capability"] == torch.backends.cpu.get_cpu_capability()
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
def test_with_a_gpu() -> None:
    assert device.choose("auto", require_gpu=True).type == "cuda"
    assert device.gpus() >= 1
    assert device.driver() is not None


def test_cpu_and_required_gpu_contradict_each_other() -> None:
    with pytest.raises(InputError, match="set one of the two"):
        device.choose("cpu", require_gpu=True)


@pytest.mark.parametrize(("visible", "count"), [("", 0), ("-1", 0), ("0", 1), ("0,1", 2), ("GPU-1a,GPU-2b,GPU-3c", 2)])
def test_a_scheduler_narrows_the_gpus(monkeypatch: pytest.MonkeyPatch, visible: str, count: int) -> None:
    monkeypatch.setattr(device, "gpu_names", lambda: ["one", "two"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert device.gpus() == count


def test_counting_gpus_does_not_import_torch() -> None:
    code = "import sys; from offnote import device; device.gpus(); device.driver(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_fewer_threads_than_the_recipe_names() -> None:
    device.require_threads(2, 2)
    with pytest.raises(InputError, match=r"model\.threads is 2.*was given 1"):
        device.require_threads(2, 1)
