"""Match the tensors of two endpoints with the parameters of a model, and find every misfit."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from dami_merge.errors import Problem
from dami_merge.tensors.dtypes import FLOAT_DTYPES

_FLOATS = frozenset(FLOAT_DTYPES.values())


def tied(parameters: Mapping[str, Tensor]) -> list[list[str]]:
    """Group the names of tensors that share the same memory and layout."""
    groups: dict[object, list[str]] = {}
    for name, tensor in parameters.items():
        groups.setdefault(place_of(tensor) if tensor.numel() else name, []).append(name)
    return list(groups.values())


def place_of(tensor: Tensor) -> tuple[object, ...]:
    """Return where a tensor lies and how it is laid out; equal for two names of one tensor."""
    start = id(tensor) if tensor.is_meta else tensor.data_ptr()
    return tensor.device, start, tensor.dtype, tensor.shape, tensor.stride()


def storage_of(tensor: Tensor) -> tuple[torch.device, int]:
    """Return the storage of a tensor; equal for two views of it."""
    return tensor.device, tensor.untyped_storage().data_ptr()


def name_problems(
    groups: list[list[str]], instruct: Mapping[str, Tensor], thinking: Mapping[str, Tensor]
) -> list[Problem]:
    """Check that every parameter has a tensor on both sides, and every tensor a parameter."""
    known = {name for names in groups for name in names}
    problems = []
    for side, tensors, other in (("instruct", instruct, thinking), ("thinking", thinking, instruct)):
        problems += [
            Problem("key-set", f"{name!r} is in {side} but not in the model")
            for name in sorted(tensors.keys() - known)
        ]
        problems += [
            Problem("key-set", f"{' = '.join(map(repr, names))} is in the model but not in {side}")
            for names in groups
            if not any(name in tensors for name in names)
        ]
        problems += [
            Problem("key-set", f"{name!r} is only in {side}")
            for names in groups
            if any(name in other for name in names)
            for name in names
            if name in tensors and name not in other
        ]
    return problems


def form_problems(
    names: list[str],
    parameters: Mapping[str, Tensor],
    instruct: Mapping[str, Tensor],
    thinking: Mapping[str, Tensor],
) -> Iterator[Problem]:
    """Check shapes, dtypes and layouts of one storage's names, and that tied names have equal values."""
    target = parameters[names[0]]
    if target.is_meta or not _dense(target):
        what = "has no data (meta device)" if target.is_meta else "has gaps or overlaps in memory"
        yield Problem("layout", f"{names[0]!r} {what}", "load the whole model, with contiguous parameters")
    for side, tensors in (("instruct", instruct), ("thinking", thinking)):
        held = [(name, tensors[name]) for name in names if name in tensors]
        for name, tensor in held:
            if tensor.shape != target.shape:
                shapes = f"{list(tensor.shape)} in {side} and {list(target.shape)} in the model"
                yield Problem("shape", f"{name!r} is {shapes}")
            elif not _compatible(tensor.dtype, target.dtype):
                yield Problem(
                    "dtype",
                    f"{name!r} is {tensor.dtype} in {side} and {target.dtype} in the model",
                    "only bfloat16, float16, float32 and float64 can be mixed; other dtypes must be equal",
                )
            elif tensor.is_meta:
                yield Problem("layout", f"{name!r} has no data in {side} (meta device)", "load all weights")
            elif not _same(tensor, held[0][1]):
                yield Problem("tied", f"the model ties {held[0][0]!r} and {name!r}, which differ in {side}")


def _same(tensor: Tensor, other: Tensor) -> bool:
    if place_of(tensor) == place_of(other):
        return True
    return tensor.dtype == other.dtype and torch.equal(tensor, other.to(tensor.device))


def _compatible(endpoint: torch.dtype, target: torch.dtype) -> bool:
    if target.is_floating_point or target.is_complex:
        return {endpoint, target} <= _FLOATS
    return endpoint == target


def memory_order(tensor: Tensor) -> list[int]:
    """Return the dimensions in memory order, slowest first."""
    dimensions = range(tensor.ndim)
    return sorted(dimensions, key=tensor.stride, reverse=True) if tensor.numel() else list(dimensions)


def _dense(tensor: Tensor) -> bool:
    """Return whether the tensor fills a block of memory without gaps, in any order of its dimensions."""
    return tensor.permute(memory_order(tensor)).is_contiguous()
