"""Fixtures that the tests of backends share."""

from pathlib import Path

import pytest

from tests.backends.tiny import build_tiny_grid


@pytest.fixture(scope="session")
def tiny_grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled pair's grid at three λ."""
    return build_tiny_grid(tmp_path_factory.mktemp("tiny") / "grid")
