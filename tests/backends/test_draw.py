"""A drawn token: its distribution, what is kept, and that a row is its own."""

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from dami_merge.backends.draw import Draw, drawn
from dami_merge.sampling import SamplingSettings

OPEN = SamplingSettings(temperature=1, top_p=1, top_k=0)
LOGITS = torch.tensor([[0.1, 2.0, -1.0, 1.0, 0.5]])


def shares(logits: Tensor, settings: SamplingSettings, points: int = 100_000) -> list[float]:
    """How much of [0, 1) leads to each token."""
    numbers = (torch.arange(points, dtype=torch.float64) / points).float()
    found = drawn(logits.expand(points, -1).clone(), numbers, settings)
    counts = Counter(found[:, 0].tolist())
    return [counts[token] / points for token in range(logits.shape[1])]


def kept(tokens: Sequence[int], temperature: float = 1) -> list[float]:
    """The softmax over some tokens alone."""
    mask = torch.full_like(LOGITS, -torch.inf)
    mask[0, list(tokens)] = 0
    wanted: list[float] = (LOGITS / temperature + mask).softmax(dim=-1)[0].tolist()
    return wanted


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (OPEN, kept(range(5))),
        (SamplingSettings(temperature=0.5, top_p=1, top_k=0), kept(range(5), 0.5)),
        (SamplingSettings(temperature=1, top_p=1, top_k=3), kept([1, 3, 4])),
        (SamplingSettings(temperature=1, top_p=1, top_k=50), kept(range(5))),
        (SamplingSettings(temperature=1, top_p=0.7, top_k=0), kept([1, 3])),
        (SamplingSettings(temperature=1, top_p=0.01, top_k=0), kept([1])),
        # of the top three 1 has .63, 3 has .23 and 4 has .14: top-p counts what top-k has left
        (SamplingSettings(temperature=1, top_p=0.8, top_k=3), kept([1, 3])),
    ],
)
def test_each_token_takes_as_much_of_the_unit_interval_as_it_is_probable(
    settings: SamplingSettings, wanted: list[float]
) -> None:
    assert shares(LOGITS, settings) == pytest.approx(wanted, abs=3e-5)


def test_the_largest_number_below_one_points_at_a_token_that_is_possible() -> None:
    logits = torch.full((3, 9), -torch.inf)
    logits[:, [2, 5]] = torch.tensor([1.0, 0.5])
    numbers = torch.tensor([0.0, 0.999999940395, 0.7])
    assert drawn(logits, numbers, OPEN)[:, 0].tolist() == [2, 5, 5]


def test_two_tokens_that_rounding_swaps_are_drawn_as_before() -> None:
    logits = torch.tensor([[1.0, 1.0, -3.0]]).repeat(2, 1)
    logits[1, 1] += 1e-6
    for settings in (OPEN, SamplingSettings(temperature=1, top_p=0.95, top_k=2)):
        for number in (0.2, 0.4, 0.6, 0.8):
            first, second = drawn(logits.clone(), torch.tensor([number, number]), settings)
            assert first == second


def test_a_row_is_drawn_by_its_seed_and_by_no_other_row() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()

    def run(seeds: Sequence[int]) -> list[list[int]]:
        draw = Draw(SamplingSettings(temperature=1, top_p=0.9, top_k=0), seeds, prompt_tokens=4)
        ids = torch.zeros(len(seeds), 4, dtype=torch.long)
        for _ in range(600):  # more than two blocks of numbers
            scores = draw(ids, torch.zeros(len(seeds), 100))
            ids = torch.cat([ids, scores.argmax(dim=-1, keepdim=True)], dim=1)
        found: list[list[int]] = ids[:, 4:].tolist()
        return found

    together = run([1, 2**128 - 1, 3])
    assert together == [run([seed])[0] for seed in (1, 2**128 - 1, 3)]
    assert together[0] != together[1]
    assert together[0][:256] != together[0][256:512]
    assert len(set(together[0])) > 80
    assert torch.equal(torch.random.get_rng_state(), before)


def test_at_temperature_zero_the_logits_stay_as_they_are() -> None:
    draw = Draw(SamplingSettings(temperature=0), [1], prompt_tokens=1)
    assert torch.equal(draw(torch.zeros(1, 1), LOGITS.clone()), LOGITS)
    assert draw.finite


@pytest.mark.parametrize("temperature", [0, 1])
def test_a_nan_is_noticed_and_remembered(temperature: float) -> None:
    draw = Draw(SamplingSettings(temperature=temperature), [1], prompt_tokens=1)
    draw(torch.zeros(1, 1), torch.tensor([[0.0, torch.nan]]))
    draw(torch.zeros(1, 2), LOGITS.clone())
    assert not draw.finite
