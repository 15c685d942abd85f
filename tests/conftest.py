"""Fixtures that every room's tests share."""

import tests.environment  # isort: skip  # noqa: F401 - before what reads the environment at import

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

from dami_merge.checkpoint import ranges
from tests.checkpoints import near, random_tensors, write_checkpoint
from tests.hub_server import Hub, running_hub
from tests.tiny import build_tiny_grid

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and so would every process that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)

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


@pytest.fixture(scope="session")
def tiny_grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled pair's grid at three λ."""
    return build_tiny_grid(tmp_path_factory.mktemp("tiny") / "grid")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty Hub and an empty cache; the client's constants, read at import, point at them."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(ranges, "FIRST_WAIT_S", 0.001)
    with running_hub() as server:
        template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        huggingface_hub.close_session()
        yield server
        huggingface_hub.close_session()
