"""How many threads the arithmetic gets, and whose they are: ours over blocks, or torch's own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def cpu_workers() -> int:
    """Threads of arithmetic: the cores this process may use, eight at most (a disk asks no more)."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    return min(cores, 8)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Parallelism is ours, by threads over blocks; torch's own would only contend with it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
