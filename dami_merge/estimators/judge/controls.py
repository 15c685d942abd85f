"""Controls: measured queries spoiled in one known way, so that a claim that survives them is no claim."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from dami_merge.errors import InputRefused, Problem
from dami_merge.estimators.examples import Examples, Numbers
from dami_merge.estimators.fitted import Inputs
from dami_merge.estimators.judge.metrics import rank_correlation
from dami_merge.estimators.judge.resampled import Figure95, resample_queries
from dami_merge.estimators.judge.routing import Routing

PARAPHRASE = "-p"
"""Suffix of the id of a paraphrased query."""


class Consistency(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a routing when the same is asked in other words.

    Attributes:
        queries: Number of queries that were asked in both forms.
        same: Probability that both forms get the same λ.
        moved: Mean distance between their λ.
        order: Spearman's rank correlation of their λ; None if one of them is constant.
        accuracy: Accuracy of the routed paraphrases minus that of the routed queries.
        over_static: The same, minus what the static λ with the same shares lose on the same paraphrases: what
            the routing itself loses.
    """

    queries: int
    same: float
    moved: float
    order: float | None
    accuracy: Figure95
    over_static: Figure95


def shuffled(examples: Examples, seed: int) -> Examples:
    """The same queries with the answers of others: what is fitted on them must not beat a static λ.

    Args:
        examples: Measured queries.
        seed: Seed of the permutation.
    """
    order = np.random.default_rng(seed).permutation(len(examples))
    return replace(
        examples, right=examples.right[order], lengths=examples.lengths[order], cut=examples.cut[order]
    )


def uncut(examples: Examples) -> tuple[Examples, list[int]]:
    """Measured queries without the answers that were truncated at the cap, and the places of those left.

    Queries without any other answer at some λ are left out.
    """
    right = np.where(examples.cut, np.int8(-1), examples.right)
    left = (right >= 0).sum(axis=2).min(axis=1)
    kept = np.flatnonzero(left)
    lengths = np.where(examples.cut, -1, examples.lengths)
    return replace(examples, right=right, lengths=lengths).part(kept), kept.tolist()


def only_length(examples: Examples) -> Inputs:
    """Features that hold nothing but the length of the prompt: its logarithm, and that squared."""
    texts = ["\n".join(turn.content for turn in question.messages) for question in examples.questions]
    logs = np.log1p(np.array([float(len(text)) for text in texts]))
    return Inputs(np.stack([logs, logs**2], axis=1), np.zeros(len(texts)), examples.groups)


def paraphrases(asked: Sequence[str], paraphrased: Sequence[str]) -> tuple[list[int], list[int]]:
    """The places of queries and of their paraphrases, in the order of the queries.

    Args:
        asked: Ids of the queries.
        paraphrased: Ids of the paraphrases: those of queries with `PARAPHRASE` behind them.

    Raises:
        InputRefused: No query has a paraphrase.
    """
    places: Mapping[str, int] = {name: place for place, name in enumerate(paraphrased)}
    pairs = [
        (place, places[name + PARAPHRASE]) for place, name in enumerate(asked) if name + PARAPHRASE in places
    ]
    if not pairs:
        fact = f"none of {len(paraphrased):,} paraphrases belongs to one of {len(asked):,} queries"
        hint = f"give a paraphrase the id of its query with {PARAPHRASE!r} behind it"
        raise InputRefused([Problem("paraphrases", fact, hint)])
    first, second = zip(*pairs, strict=True)
    return list(first), list(second)


def consistency(
    examples: Examples, routing: Routing, others: Examples, other_routing: Routing, *, seed: int
) -> Consistency:
    """Compare the routing of queries with that of their paraphrases.

    Args:
        examples: Queries that have a paraphrase.
        routing: Their routing.
        others: Their paraphrases, in the same order.
        other_routing: Their routing.
        seed: Seed of the resamples.
    """
    draws = resample_queries(examples, seed=seed)
    path = np.array([float(lam) for lam in examples.lambdas])
    one, two = routing.shares @ path, other_routing.shares @ path
    lost = other_routing.accuracy(others) - routing.accuracy(examples)
    blind: Numbers = others.accuracy @ other_routing.histogram - examples.accuracy @ routing.histogram
    return Consistency(
        queries=len(examples),
        same=float((routing.shares * other_routing.shares).sum(axis=1).mean()),
        moved=float(np.abs(one - two).mean()),
        order=rank_correlation(one, two),
        accuracy=draws.figure(draws.mean(lost)),
        over_static=draws.figure(draws.mean(lost - blind)),
    )
