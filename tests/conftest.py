"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest
import torch

from tests.checkpoints import near, random_tensors, write_checkpoint

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported


def _devices() -> list[str]:
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.fixture(params=_devices())
def device(request: pytest.FixtureRequest) -> str:
    """Every device of this machine on which results must be the same bits."""
    name: str = request.param
    return name


@pytest.fixture
def pair_folders(tmp_path: Path) -> tuple[Path, Path]:
    """A connected bfloat16 pair: an Instruct folder and a Thinking folder."""
    tensors = random_tensors(seed=0)
    instruct = write_checkpoint(
        tmp_path / "toy-instruct", tensors, extra={"chat_template.jinja": "{{ instruct }}"}
    )
    thinking = write_checkpoint(
        tmp_path / "toy-thinking", near(tensors), extra={"chat_template.jinja": "{{ thinking }}"}
    )
    return instruct, thinking
