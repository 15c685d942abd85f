"""Choose the layers of the features `state` by queries that are left out."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from dami_merge.estimators.examples import Examples, Numbers, folds
from dami_merge.estimators.features.state import inputs_of_states
from dami_merge.estimators.fitted import Inputs
from dami_merge.estimators.fitting.curves import CurveOptions, fit_curve
from dami_merge.estimators.probing import Prober

_FOLDS = 4
_OPTIONS = CurveOptions(ridge=0.003, draws=0, parts=128)
_FLOOR = 1e-6


def validated_layers(
    examples: Examples, prober: Prober, seed: int, *, layers: Sequence[int] | None = None
) -> tuple[int, ...]:
    """Choose the layers for the features `state` with `chosen_blocks`.

    Args:
        examples: N measured queries; each is prefilled once.
        prober: Runs λ = 0, in this process.
        seed: Seed of the folds.
        layers: Layers to choose from; None means some that are evenly spread.

    Raises:
        DamiMergeError: The states cannot be had.
    """
    queries = [
        [{"role": turn.role, "content": turn.content} for turn in question.messages]
        for question in examples.questions
    ]
    states = prober.prompt_states(queries, Fraction(0), layers)
    return tuple(states.layers[place] for place in chosen_blocks(examples, inputs_of_states(states), seed))


def chosen_blocks(examples: Examples, inputs: Inputs, seed: int) -> tuple[int, ...]:
    """Choose one block of the features, or all of them: those whose success curve predicts best.

    Middle layers often know more of a query's difficulty than the last. All are kept unless one is better.

    Args:
        examples: N measured queries, at least 8.
        inputs: Their features, such as `state` with one block for each layer.
        seed: Seed of the folds.

    Returns:
        Places of the blocks, ascending.
    """
    every = tuple(range(len(inputs.blocks)))
    if len(every) < 2 or len(examples) < 2 * _FOLDS:
        return every
    choices = [every, *((place,) for place in every)]
    losses = [_loss(examples, only_blocks(inputs, choice), seed) for choice in choices]
    return choices[int(np.argmin(losses))]


def only_blocks(inputs: Inputs, places: Sequence[int]) -> Inputs:
    """The same queries with some of the blocks of their features.

    Args:
        inputs: Features in blocks.
        places: Places of the blocks that are kept, in their order.
    """
    ends = np.cumsum(inputs.blocks)
    columns = np.concatenate([np.arange(ends[place] - inputs.blocks[place], ends[place]) for place in places])
    widths = tuple(inputs.blocks[place] for place in places)
    return Inputs(inputs.vectors[:, columns], inputs.spent, inputs.groups, widths)


def _loss(examples: Examples, inputs: Inputs, seed: int) -> float:
    total = 0.0
    for kept, out in folds(len(examples), _FOLDS, seed):
        curve = fit_curve(examples.part(kept), inputs.part(kept), _OPTIONS, seed)
        total += _cross_entropy(curve.estimate(inputs.part(out)).value, examples.accuracy[out])
    return total


def _cross_entropy(said: Numbers, hits: Numbers) -> float:
    inner = np.clip(said, _FLOOR, 1 - _FLOOR)
    return float(-(hits * np.log(inner) + (1 - hits) * np.log(1 - inner)).sum())
