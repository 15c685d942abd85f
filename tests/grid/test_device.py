"""A device is taken only if it is there and rounds as the CPU does."""

import os

import pytest
import torch

from dami_merge.errors import DeviceUnfit
from dami_merge.grid.device import choose_device, cpu_workers, prove


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
    with pytest.raises(DeviceUnfit, match=f"there is no device {name} here"):
        choose_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_without_a_gpu_is_refused() -> None:
    with pytest.raises(DeviceUnfit, match="there is no device cuda here"):
        choose_device("cuda")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is an MPS device here")
def test_mps_elsewhere_is_refused() -> None:
    with pytest.raises(DeviceUnfit, match="there is no device mps here"):
        choose_device("mps")


def test_a_device_with_the_cpus_bits_is_proved(device: str) -> None:
    assert prove(torch.device(device)) == torch.device(device)


def test_workers_are_at_least_one_and_at_most_eight_and_no_more_than_cores() -> None:
    assert 1 <= cpu_workers() <= min(8, os.cpu_count() or 1)
