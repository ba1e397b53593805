"""Products by either library, against those in double precision, and which of them is taken when."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from offnote import products
from offnote.device import products_in
from offnote.products import LEAST_SIZE, onednn_is_faster, product
from torch import Tensor

from tests.small import CPU, generator, needs_onednn


def matrix(rows: int, columns: int, turned: bool = False) -> Tensor:
    """Return a matrix, laid out by columns if it is `turned`."""
    if turned:
        return matrix(columns, rows).t()
    return torch.randn(rows, columns, generator=generator(rows + columns))


@needs_onednn
@pytest.mark.parametrize("onednn", [False, True], ids=["mkl", "onednn"])
@pytest.mark.parametrize("biased", [False, True], ids=["no_bias", "bias"])
@pytest.mark.parametrize("turned", [(False, False), (False, True), (True, True)], ids=["forward", "back", "weight"])
@pytest.mark.parametrize("sizes", [(512, 320, 64), (37, 640, 128), (32, 32, 32), (512, 64, 8), (1, 3, 2)], ids=str)
def test_it_is_the_product(
    sizes: tuple[int, int, int],
    turned: tuple[bool, bool],
    biased: bool,
    onednn: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "onednn_is_faster", lambda: onednn)
    rows, inputs, outputs = sizes
    given, weight = matrix(rows, inputs, turned[0]), matrix(outputs, inputs, turned[1])
    bias = matrix(1, outputs)[0] if biased else None
    expected = given.double() @ weight.double().t() + (0 if bias is None else bias.double())
    found = product(given, weight, bias)
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6 * inputs)


TAKEN = {
    "wide": (matrix(64, 40), matrix(50, 40)),
    "turned": (matrix(64, 40, turned=True), matrix(50, 40, turned=True)),
    "just wide enough": (matrix(LEAST_SIZE, LEAST_SIZE), matrix(LEAST_SIZE, LEAST_SIZE)),
}
NOT_TAKEN = {
    "few rows": (matrix(LEAST_SIZE - 1, 40), matrix(50, 40)),
    "few inputs": (matrix(64, 8), matrix(50, 8)),
    "few outputs": (matrix(64, 40), matrix(8, 40)),
    "double precision": (matrix(64, 40).double(), matrix(50, 40).double()),
    "gaps in what is given": (matrix(64, 80)[:, :40], matrix(50, 40)),
    "gaps in the weight": (matrix(64, 40), matrix(40, 80)[:, :50].t()),
}


@pytest.mark.parametrize("name", [*TAKEN, *NOT_TAKEN])
def test_which_library_it_is_depends_on_the_tensors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by_onednn: list[Tensor] = []
    monkeypatch.setattr(products, "onednn_is_faster", lambda: True)
    monkeypatch.setattr(products, "_by_onednn", lambda given, *_: by_onednn.append(given))
    given, weight = (TAKEN | NOT_TAKEN)[name]
    found = product(given, weight)
    assert len(by_onednn) == (name in TAKEN)
    if name in NOT_TAKEN:
        assert torch.equal(found, given @ weight.t())


def test_products_in_less_precision_are_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "onednn_is_faster", lambda: True)
    monkeypatch.delattr(products, "_by_onednn")
    with products_in("bfloat16", CPU):
        assert product(matrix(64, 40), matrix(50, 40)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("capability", "onednn", "vendor", "expected"),
    [
        ("AVX512", True, "AuthenticAMD", True),
        ("AVX512", True, "GenuineIntel", False),
        ("AVX512", True, None, False),
        ("AVX512", False, "AuthenticAMD", False),
        ("AVX2", True, "AuthenticAMD", False),
    ],
)
def test_which_library_it_is_depends_on_the_processor(
    capability: str,
    onednn: bool,
    vendor: str | None,
    expected: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if vendor is not None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n")
    monkeypatch.setattr(products, "PROCESSOR", tmp_path / "cpuinfo")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: onednn)
    assert onednn_is_faster.__wrapped__() is expected
