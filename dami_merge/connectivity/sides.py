"""Read some elements of a checkpoint's float tensors, one request for each: for samples, not for streams."""

import torch
from torch import Tensor

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.tensors.dtypes import FLOAT_DTYPES
from dami_merge.tensors.sources import Piece, source_of

READS = 16
"""Reads in flight: a read from the Hub is mostly waiting."""


class FloatSide:
    """The float tensors of one checkpoint; several threads may read at once."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Remember the headers; the `source` is a context manager to open before reading."""
        self.infos = {name: info for name, (_, info) in checkpoint.tensors().items()}
        self.source = source_of(checkpoint)

    def read(self, name: str, first: int, count: int) -> Tensor:
        """Read consecutive elements, in the tensor's dtype, shape [count]."""
        dtype = FLOAT_DTYPES[self.infos[name].dtype]
        buffer = memoryview(bytearray(count * dtype.itemsize))
        for _ in self.source.fill([(Piece(name, first, count), 0)], buffer):
            pass
        return torch.frombuffer(buffer, dtype=dtype, count=count)
