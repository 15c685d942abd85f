"""Threads of the arithmetic: their number, and whether they are ours, over blocks, or torch's own."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL_MODEL = 1_000_000
"""Number of parameters up to which one thread runs a model."""


def cpu_workers() -> int:
    """Return the number of arithmetic threads: the usable cores, at most 8 (enough to keep a disk busy)."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    return min(cores, 8)


def model_threads(parameters: int) -> int:
    """Return how many threads torch should use to run a model on the CPU.

    A small model gains nothing from a second thread, and beside other work torch's threads wait for each
    other while they spin: one thread is then several times faster. For larger models, the command line makes
    the threads spin less. Source: ours, measured by `tools/bench_threads.py`.

    Args:
        parameters: Number of parameters of the model.

    Returns:
        1 up to `SMALL_MODEL` parameters; above, what torch uses now.

    Example:
        >>> model_threads(280_000)
        1
    """
    return 1 if parameters <= SMALL_MODEL else torch.get_num_threads()


@contextmanager
def fitting_threads(model: torch.nn.Module) -> Iterator[None]:
    """Let torch use as many threads as the work of a model is worth; see `model_threads`."""
    with torch_threads(model_threads(sum(each.numel() for each in model.parameters()))):
        yield


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use this many threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Limit torch to one thread: our threads run over blocks, and torch's would only compete with them."""
    with torch_threads(1):
        yield
