"""A device is taken only if it is there and rounds as the CPU does."""

import os
from collections.abc import Sequence
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from dami_merge.errors import DeviceUnfit
from dami_merge.tensors.device import choose_device, choose_devices, compare_bits, prove
from dami_merge.tensors.kernels import fastest
from dami_merge.tensors.threads import cpu_workers


def test_auto_takes_a_gpu_if_there_is_one_and_else_the_cpu() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_device_that_is_named_is_taken(device: str) -> None:
    assert choose_device(device).type == device


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "cpu:cpu"])
def test_a_word_that_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(DeviceUnfit, match=rf"'{name}' is not a device") as caught:
        choose_device(name)
    assert "cuda:1" in caught.value.hint


@pytest.mark.parametrize("name", ["cuda:99", "xpu", "meta"])
def test_a_device_that_is_not_here_is_refused(name: str) -> None:
    with pytest.raises(DeviceUnfit, match=f"the device {name} is unavailable"):
        choose_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_without_a_gpu_is_refused() -> None:
    with pytest.raises(DeviceUnfit, match="the device cuda is unavailable"):
        choose_device("cuda")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is an MPS device here")
def test_mps_elsewhere_is_refused() -> None:
    with pytest.raises(DeviceUnfit, match="the device mps is unavailable"):
        choose_device("mps")


def test_a_device_with_the_cpus_bits_is_proved(device: str) -> None:
    where = torch.device(device)
    prove(where, fastest(where, output_bytes=0).interpolate)


def test_a_device_that_rounds_otherwise_is_refused() -> None:
    def crude(
        instruct: Tensor,
        thinking: Tensor,
        lambdas: Sequence[Fraction],
        out: Tensor,
        nonfinite: Tensor | None = None,
    ) -> None:
        weights = torch.tensor([float(lam) for lam in lambdas])[:, None]
        out.copy_(instruct * (1 - weights) + thinking * weights)

    with pytest.raises(
        DeviceUnfit, match=r"^the CPU rounds torch.bfloat16 differently from torch on the CPU"
    ):
        compare_bits("the CPU", torch.device("cpu"), crude)


@pytest.mark.parametrize("wanted", ["cpu,cuda:0", "cuda:0,cpu", "cpu,mps"])
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_devices_that_are_not_here_are_refused_in_a_list_too(wanted: str) -> None:
    with pytest.raises(DeviceUnfit, match=r"the device (cuda:0|mps) is unavailable"):
        choose_devices(wanted)


def test_one_device_named_twice_is_one_device() -> None:
    assert choose_devices("cpu,cpu") == (torch.device("cpu"),)


def test_workers_are_at_least_one_and_at_most_eight_and_no_more_than_cores() -> None:
    assert 1 <= cpu_workers() <= min(8, os.cpu_count() or 1)
