"""Which device does the arithmetic, and a proof that it rounds as the CPU does."""

import os
from fractions import Fraction

import torch

from dami_merge.errors import DeviceUnfit
from dami_merge.tensors.interpolate import interpolate

_PROBE_ELEMENTS = 4096


def choose_device(wanted: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda`, `cuda:1` or `mps` into a device that is there.

    `auto` is the first CUDA device, else the CPU.

    Raises:
        DeviceUnfit: It is not there, or gives other bits than the CPU.
    """
    if wanted == "auto":
        return prove(torch.device("cuda:0" if torch.cuda.is_available() else "cpu"))
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise DeviceUnfit(f"{wanted!r} is not a device", hint="cpu, cuda, cuda:1 or mps") from error
    if not _present(device):
        raise DeviceUnfit(f"there is no device {wanted} here", hint="--device auto takes what there is")
    return prove(device)


def _present(device: torch.device) -> bool:
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    return device.type == "cpu"


def prove(device: torch.device) -> torch.device:
    """Compare a device's result with the CPU's, bit for bit, on a fixed sample of bfloat16 weights.

    Raises:
        DeviceUnfit: They differ.
    """
    if device.type == "cpu":
        return device
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(_PROBE_ELEMENTS, generator=generator).to(torch.bfloat16)
    right = torch.randn(_PROBE_ELEMENTS, generator=generator).to(torch.bfloat16)
    lambdas = [Fraction(k, 10) for k in range(11)] + [Fraction(1, 3), Fraction(500, 1001)]
    lambdas.sort()
    here = torch.empty(len(lambdas), len(left), dtype=left.dtype)
    there = torch.empty_like(here, device=device)
    interpolate(left, right, lambdas, here)
    interpolate(left.to(device), right.to(device), lambdas, there)
    if not torch.equal(here, there.cpu()):
        raise DeviceUnfit(
            f"{device} rounds differently from the CPU", hint="use --device cpu: bits would differ"
        )
    return device


def cpu_workers() -> int:
    """Threads of arithmetic: the cores this process may use, eight at most (a disk asks no more)."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        cores = os.cpu_count() or 1
    return min(cores, 8)
