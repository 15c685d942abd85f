"""Threads fit the work, and are put back."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from dami_merge.backends.hf import HfBackend
from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING, bundled_questions
from dami_merge.evaluation.generation import all_requests
from dami_merge.evaluation.questions.importers import read_questions
from dami_merge.lambdas import even_grid
from dami_merge.sampling import SamplingSettings
from dami_merge.tensors.threads import SMALL_MODEL, fitting_threads, model_threads, torch_threads


@pytest.fixture(autouse=True)
def _three_threads() -> Iterator[None]:
    with torch_threads(3):
        yield


def test_a_small_model_gets_one_thread_and_a_large_one_what_torch_has() -> None:
    assert model_threads(1) == model_threads(SMALL_MODEL) == 1
    assert model_threads(SMALL_MODEL + 1) == 3
    with fitting_threads(nn.Linear(8, 8)):
        assert torch.get_num_threads() == 1
    with torch.device("meta"):
        large = nn.Linear(SMALL_MODEL, 2)
    with fitting_threads(large):
        assert torch.get_num_threads() == 3


def test_the_threads_are_put_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="stop"), torch_threads(1):
        raise ValueError("stop")
    assert torch.get_num_threads() == 3


def test_the_bundled_pair_is_run_with_one_thread() -> None:
    backend = HfBackend.live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu")
    seen: list[int] = []
    model = backend._models.at(even_grid(1)[0])
    model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    questions = read_questions(str(bundled_questions()), limit=2)
    requests = all_requests(questions, [even_grid(1)[0]], 1)
    for _ in backend.generate(requests, SamplingSettings(max_tokens=4)):
        assert torch.get_num_threads() == 3, "the caller's threads are its own"
    assert set(seen) == {1}
