"""Threads of the arithmetic: their number, and whether they are ours, over blocks, or torch's own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def cpu_workers() -> int:
    """Return the number of arithmetic threads: the usable cores, at most 8 (enough to keep a disk busy)."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    return min(cores, 8)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Limit torch to one thread: our threads run over blocks, and torch's would only compete with them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
