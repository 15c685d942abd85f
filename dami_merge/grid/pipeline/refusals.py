"""Refusals that depend on the weights themselves: found while a block is made, reported with the tensor."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dami_merge.dtypes import ITEM_BYTES
from dami_merge.errors import InputRefused, Problem
from dami_merge.grid.pipeline.arithmetic import Finite, Work
from dami_merge.grid.pipeline.blocks import Block, Segment
from dami_merge.grid.pipeline.slots import Slot
from dami_merge.grid.plan import ShardJob


def _name_at(shard: ShardJob, position: int) -> str:
    """Return the name of the tensor that holds a byte of the output file."""
    return next(job.name for job in reversed(shard.tensors) if job.start <= position)


def unequal(shard: ShardJob, slot: Slot, block: Block, segment: Segment) -> Problem:
    """Describe the first integer that differs."""
    item = ITEM_BYTES[segment.dtype]
    for element in range(segment.elements):
        left = slot.instruct[segment.instruct_at + element * item :][:item]
        if left != slot.thinking[segment.thinking_at + element * item :][:item]:
            name = _name_at(shard, block.start + segment.out_at + element * item)
            return Problem(
                "integer-differs",
                f"the {segment.dtype} tensor {name!r} differs between the two models",
                "only float tensors can be interpolated: use models whose integer tensors are equal",
            )
    raise AssertionError("called for equal bytes")


def require_finite(
    finite: Finite, shard: ShardJob, block: Block, work: Sequence[tuple[Segment, Work]]
) -> None:
    """Wait for a block's arithmetic, and refuse NaN and Inf.

    Raises:
        InputRefused: An input holds NaN or Inf; names the first one.
    """
    if finite():
        return
    for segment, each in work:
        for side, values in (("instruct", each.instruct), ("thinking", each.thinking)):
            if not bool(torch.isfinite(values).all()):
                raise InputRefused([_nonfinite(shard, block, segment, side, values)])
    raise AssertionError("a kernel reported NaN or Inf, but all inputs are finite")


def _nonfinite(shard: ShardJob, block: Block, segment: Segment, side: str, values: Tensor) -> Problem:
    element = int((~torch.isfinite(values)).nonzero()[0])
    name = _name_at(shard, block.start + segment.out_at + element * ITEM_BYTES[segment.dtype])
    return Problem(
        "nonfinite",
        f"{name!r} holds {float(values[element])} in {side}",
        "the checkpoint is damaged; pass --allow-nonfinite to interpolate it anyway",
    )
