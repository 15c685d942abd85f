"""A finished grid that many tests read; building one costs dozens of fsyncs."""

import shutil
from pathlib import Path

import pytest

from dami_merge.grid.build import build_grid
from dami_merge.sampling import Sampling
from tests.checkpoints import near, random_tensors, write_checkpoint
from tests.grid.grids import THREE, plan_of


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole grid of three λ; not to be changed."""
    place = tmp_path_factory.mktemp("finished")
    tensors = random_tensors(seed=0)
    folders = (
        write_checkpoint(place / "toy-instruct", tensors, extra={"chat_template.jinja": "{{ instruct }}"}),
        write_checkpoint(place / "toy-thinking", near(tensors), extra={"chat_template.jinja": "{{ t }}"}),
    )
    sampling = Sampling(temperature=0.6, top_k=20)
    return build_grid(plan_of(folders, place / "grid", lambdas=THREE, sampling=sampling)).path


@pytest.fixture
def grid_copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to do anything with."""
    return Path(shutil.copytree(finished, tmp_path / "grid"))
