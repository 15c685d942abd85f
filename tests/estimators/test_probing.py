"""A short answer and its confidence, which of its tokens count, and which layers are taken."""

import math

import msgspec
import pytest

from dami_merge.estimators.probing import (
    AT_ONCE,
    MOST_LAYERS,
    Aggregate,
    ProbeSettings,
    ShortAnswer,
    counted_tokens,
    spread_layers,
)


def answer(*shares: float, entropies: tuple[float, ...] = ()) -> ShortAnswer:
    return ShortAnswer("42", len(shares) + 1, tuple(map(math.log, shares)), entropies)


@pytest.mark.parametrize(("aggregate", "wanted"), [("geometric", 0.4), ("arithmetic", 0.5), ("min", 0.2)])
def test_a_confidence_is_the_mean_or_the_least_of_the_probabilities(
    aggregate: Aggregate, wanted: float
) -> None:
    assert answer(0.8, 0.2).confidence(aggregate) == pytest.approx(wanted)


def test_a_certainty_is_one_over_the_number_of_equally_likely_tokens() -> None:
    assert answer(0.5, 0.5, entropies=(math.log(2), math.log(8))).certainty() == pytest.approx(1 / 4)
    assert answer(1.0, entropies=(0.0,)).certainty() == 1


def test_a_model_that_says_nothing_is_not_sure_of_anything() -> None:
    empty = ShortAnswer("", 1, (), ())
    assert [empty.confidence(how) for how in ("geometric", "arithmetic", "min")] == [0, 0, 0]
    assert empty.certainty() == 0


def test_the_first_token_is_skipped_unless_it_is_the_whole_answer() -> None:
    tokens = list("{42}")
    assert tokens[counted_tokens(4, skip_first=True)] == ["4", "2", "}"]
    assert tokens[counted_tokens(3, skip_first=False)] == ["{", "4", "2"]
    assert tokens[counted_tokens(1, skip_first=True)] == ["{"]
    assert tokens[counted_tokens(0, skip_first=True)] == []


def test_layers_are_spread_evenly_and_end_with_the_last() -> None:
    for count in (1, 4, MOST_LAYERS, 9, 32, 61):
        layers = spread_layers(count)
        steps = {later - sooner for sooner, later in zip((0, *layers), layers, strict=False)}
        assert layers[-1] == count
        assert len(layers) == min(count, MOST_LAYERS)
        assert max(steps) - min(steps) <= 1


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"aggregate": "median"}, "aggregate"),
        ({"hidden": [""]}, "hidden"),
        ({"induce": "x"}, "induce"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object], reason: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=reason):
        msgspec.convert(wrong, ProbeSettings)


def test_settings_are_the_same_after_they_were_stored() -> None:
    for settings in (ProbeSettings(), AT_ONCE):
        assert msgspec.json.decode(msgspec.json.encode(settings), type=ProbeSettings) == settings
