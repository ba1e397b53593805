"""A pretend accelerator: a torch device that computes on the CPU and, like a GPU, refuses tensors that lie elsewhere.

It shows on a machine without a GPU that every tensor of a computation lies where it should. Values, and so results,
are those of the CPU bit for bit. What it knows nothing of: ``torch.cuda``, streams, pinned memory, autocast, kernels.

The names of torch that it stands on are private or experimental; ``pyproject.toml`` pins the release they belong to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "pretend"

ALONE = not torch.cuda.is_available()
"""Torch works with one kind of accelerator in a process: its pinned memory, for one, would no longer be CUDA's."""

# Now, and not when first used: autograd makes a thread for each device at the first backward pass of the process, and
# a device that comes later has none.
if ALONE:
    backend_registration._setup_privateuseone_for_python_backend(NAME)

aten = torch.ops.aten

COPIES = {aten._to_copy.default, aten.copy_.default}
"""What may take a tensor from one device to another."""

INDEXING = {aten.index.Tensor, aten.index_put_.default, aten._index_put_impl_.default}
"""What takes indices from the CPU on every device, as ``frames[order]`` does."""


@contextmanager
def pretend_accelerator() -> Iterator[torch.device]:
    """Give a pretend device, on which this thread can make tensors inside the block; skip the test beside CUDA.

    Examples
    --------
    >>> with pretend_accelerator() as device:
    ...     total = torch.ones(3).to(device).sum()
    ...     str(total.device), float(total)
    ('pretend:0', 3.0)
    """
    if not ALONE:
        pytest.skip("torch finds a CUDA GPU here, which takes the place of the pretend accelerator")
    with _Factories():  # type: ignore[no-untyped-call]
        yield torch.device(NAME, 0)


class PretendTensor(Tensor):
    """A tensor that says it lies on the accelerator.

    Attributes
    ----------
    content : Tensor
        Its values, on the CPU. A view shares them with the tensor it was made from.
    """

    content: Tensor

    # Without it every method of a tensor would take the long way round, through Python.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, values: Tensor) -> PretendTensor:
        made: PretendTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=torch.device(NAME, 0),
        )
        made.content = values
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, operation: OpOverload, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(operation, args, kwargs or {})

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"PretendTensor({self.content!r})"


class _Factories(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees the operations, too, that make a tensor on the accelerator out of none that lies there."""

    def __torch_dispatch__(
        self, operation: OpOverload, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(operation, args, kwargs or {})


def _run(operation: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run an operation of torch on the values of its tensors, and put what comes out where a GPU would put it.

    Raises
    ------
    RuntimeError
        Tensors of both devices come together. As on a GPU, a single number from the CPU may be read, not written to; in
        a list of tensors it may not.
    """
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    pretended = [tensor for tensor in tensors if isinstance(tensor, PretendTensor)]
    if pretended and operation not in COPIES:
        _refuse_strangers(operation, args, kwargs, tensors)
    result = operation(*tree_map(_on_cpu, args), **tree_map(_on_cpu, kwargs))
    if operation is aten._local_scalar_dense.default or not _stays(operation, args, kwargs, bool(pretended)):
        return result
    known = {id(tensor.content): tensor for tensor in pretended}
    return tree_map(lambda leaf: _wrapped(leaf, known), result)


def _refuse_strangers(
    operation: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], tensors: Sequence[Tensor]
) -> None:
    strangers = {id(tensor) for tensor in tensors if not isinstance(tensor, PretendTensor)}
    # Those in lists are read where they lie, as the counts of steps by Adam's kernel, and nobody checks where.
    single = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.dim() == 0]
    welcome = set(map(id, single)) - _written(operation, args)
    if operation in INDEXING and isinstance(args[0], PretendTensor):
        welcome |= {id(index) for index in args[1]}
    if strangers - welcome:
        raise RuntimeError(
            f"{operation} found tensors on two devices, {NAME}:0 and cpu; they belong on the same device"
        )


def _written(operation: OpOverload, args: Sequence[Any]) -> set[int]:
    """Return the ids of the arguments that an operation in place writes to."""
    arguments = operation._schema.arguments
    return {id(value) for argument, value in zip(arguments, args, strict=False) if argument.is_write}


def _stays(operation: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any], any_pretended: bool) -> bool:
    """Tell whether the result lies on the accelerator."""
    if operation is aten.copy_.default:
        return isinstance(args[0], PretendTensor)
    wanted = kwargs.get("device")
    return any_pretended if wanted is None else torch.device(wanted).type == NAME


def _on_cpu(leaf: Any) -> Any:
    if isinstance(leaf, PretendTensor):
        return leaf.content
    return torch.device("cpu") if isinstance(leaf, torch.device) and leaf.type == NAME else leaf


def _wrapped(leaf: Any, known: Mapping[int, PretendTensor]) -> Any:
    """Wrap a result; an operation in place hands back its own argument, and autograd wants the very object."""
    if not isinstance(leaf, Tensor):
        return leaf
    if id(leaf) in known:
        return known[id(leaf)]
    # In inference mode a view of what was made outside it is no inference tensor.
    with torch.inference_mode(leaf.is_inference()):
        return PretendTensor(leaf)
