"""Choose the device of the arithmetic, and prove that it rounds like the CPU."""

from fractions import Fraction

import torch

from dami_merge.errors import DeviceUnfit
from dami_merge.tensors.interpolate import Interpolate, interpolate

_PROBE_ELEMENTS = 4096


def choose_devices(wanted: str) -> tuple[torch.device, ...]:
    """Turn `auto`, `cpu`, `cuda`, `cuda:1`, `cuda:0,cuda:2` or `mps` into available devices.

    `auto` means all CUDA devices, or the CPU if there are none; `cuda` means all CUDA devices.

    Raises:
        DeviceUnfit: A device is unavailable, or several devices are named that are not all CUDA devices.
    """
    gpus = tuple(torch.device("cuda", number) for number in range(torch.cuda.device_count()))
    if wanted == "auto":
        return gpus or (torch.device("cpu"),)
    if wanted == "cuda" and gpus:
        return gpus
    devices = tuple(dict.fromkeys(_named(name) for name in wanted.split(",")))
    if len(devices) > 1 and any(device.type != "cuda" for device in devices):
        raise DeviceUnfit(f"{wanted!r}: only CUDA devices can share a grid", hint="choose a single device")
    return devices


def choose_device(wanted: str) -> torch.device:
    """Return the first of `choose_devices`, for work that runs on one device.

    Raises:
        DeviceUnfit: The device is unavailable.
    """
    return choose_devices(wanted)[0]


def _named(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceUnfit(f"{name!r} is not a device", hint="use cpu, cuda, cuda:1 or mps") from error
    if not _present(device):
        raise DeviceUnfit(
            f"the device {name} is unavailable", hint="use --device auto, which picks an available device"
        )
    return torch.device("cuda", 0) if device.type == "cuda" and device.index is None else device


def _present(device: torch.device) -> bool:
    if device.type == "cuda":
        return (device.index or 0) < torch.cuda.device_count()
    if device.type == "mps":
        return torch.backends.mps.is_available()
    return device.type == "cpu"


def prove(device: torch.device, candidate: Interpolate) -> None:
    """Compare an implementation of the arithmetic on a device with torch's on the CPU, bit for bit.

    The sample is fixed: bfloat16 and float16 of all magnitudes, including subnormals.

    Raises:
        DeviceUnfit: The results differ.
    """
    if device.type != "cpu":
        compare_bits(str(device), device, candidate)


def compare_bits(name: str, device: torch.device, candidate: Interpolate) -> None:
    """Compare as in `prove`; the error refers to the candidate as `name`."""
    lambdas = sorted([*(Fraction(k, 10) for k in range(11)), Fraction(1, 3), Fraction(500, 1001)])
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.bfloat16, torch.float16):
        patterns = torch.randint(-(1 << 15), 1 << 15, (2, _PROBE_ELEMENTS), generator=generator)
        sample = patterns.to(torch.int16).view(dtype)
        left, right = torch.where(torch.isfinite(sample), sample, torch.ones_like(sample))
        here = torch.empty(len(lambdas), len(left), dtype=dtype)
        there = torch.empty_like(here, device=device)
        interpolate(left, right, lambdas, here)
        candidate(left.to(device), right.to(device), lambdas, there)
        if not torch.equal(here.view(torch.int16), there.cpu().view(torch.int16)):
            raise DeviceUnfit(
                f"{name} rounds {dtype} differently from torch on the CPU",
                hint="use --device cpu: this device would give other bits",
            )
