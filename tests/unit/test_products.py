"""Products by either library, against those in double precision, and which of them is taken when."""

from __future__ import annotations

import pytest
import torch
from offnote import products
from offnote.device import products_in
from offnote.products import LEAST_MULTIPLICATIONS, LEAST_SIZE, product
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
@pytest.mark.parametrize("sizes", [(512, 320, 64), (37, 640, 128), (32, 65, 1025), (512, 64, 8), (1, 3, 2)], ids=str)
@torch.no_grad()
def test_it_is_the_product(
    sizes: tuple[int, int, int],
    turned: tuple[bool, bool],
    biased: bool,
    onednn: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(products, "_has_onednn_for_amd", lambda: onednn)
    rows, inputs, outputs = sizes
    given, weight = matrix(rows, inputs, turned[0]), matrix(outputs, inputs, turned[1])
    bias = matrix(1, outputs)[0] if biased else None
    expected = given.double() @ weight.double().t() + (0 if bias is None else bias.double())
    found = product(given, weight, bias)
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-6 * inputs)


ROWS = LEAST_MULTIPLICATIONS // LEAST_SIZE**2
TAKEN = {
    "wide": (matrix(512, 70), matrix(60, 70)),
    "turned": (matrix(512, 70, turned=True), matrix(60, 70, turned=True)),
    "just large enough": (matrix(ROWS, LEAST_SIZE), matrix(LEAST_SIZE, LEAST_SIZE)),
}
NOT_TAKEN = {
    "small": (matrix(ROWS - 1, LEAST_SIZE), matrix(LEAST_SIZE, LEAST_SIZE)),
    "few rows": (matrix(LEAST_SIZE - 1, 320), matrix(320, 320)),
    "few inputs": (matrix(4096, 8), matrix(128, 8)),
    "few outputs": (matrix(4096, 128), matrix(8, 128)),
    "double precision": (matrix(512, 70).double(), matrix(60, 70).double()),
    "gaps in what is given": (matrix(512, 140)[:, :70], matrix(60, 70)),
    "gaps in the weight": (matrix(512, 70), matrix(70, 120)[:, :60].t()),
}


@pytest.mark.parametrize("name", [*TAKEN, *NOT_TAKEN])
@torch.no_grad()
def test_which_library_it_is_depends_on_the_tensors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by_onednn: list[Tensor] = []
    monkeypatch.setattr(products, "_has_onednn_for_amd", lambda: True)
    monkeypatch.setattr(products, "_by_onednn", lambda given, *_: by_onednn.append(given))
    given, weight = (TAKEN | NOT_TAKEN)[name]
    found = product(given, weight)
    assert len(by_onednn) == (name in TAKEN)
    if name in NOT_TAKEN:
        assert torch.equal(found, given @ weight.t())


@pytest.fixture
def without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let oneDNN's product fail where it would be taken."""
    monkeypatch.setattr(products, "_has_onednn_for_amd", lambda: True)
    monkeypatch.delattr(products, "_by_onednn")


@pytest.mark.usefixtures("without_onednn")
@torch.no_grad()
def test_products_in_less_precision_are_left_to_pytorch() -> None:
    given, weight = TAKEN["wide"]
    with products_in("bfloat16", CPU):
        assert product(given, weight).dtype == torch.bfloat16


@pytest.mark.usefixtures("without_onednn")
@torch.no_grad()
def test_products_on_other_devices_are_left_to_pytorch() -> None:
    given, weight = (each.to("meta") for each in TAKEN["wide"])
    assert product(given, weight).shape == (len(given), len(weight))


@pytest.mark.usefixtures("without_onednn")
def test_products_with_a_gradient_are_left_to_pytorch() -> None:
    given, weight = TAKEN["wide"]
    parameter = weight.clone().requires_grad_()
    torch.autograd.backward(product(given, parameter).sum())
    assert parameter.grad is not None


@pytest.mark.parametrize(
    ("capability", "onednn", "of_amd", "expected"),
    [
        ("AVX512", True, True, True),
        ("AVX512", True, False, False),
        ("AVX512", False, True, False),
        ("AVX2", True, True, False),
        ("DEFAULT", True, True, False),
    ],
)
def test_which_library_it_is_depends_on_the_processor(
    capability: str, onednn: bool, of_amd: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "is_of_amd", lambda: of_amd)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: onednn)
    assert products._has_onednn_for_amd.__wrapped__() is expected
