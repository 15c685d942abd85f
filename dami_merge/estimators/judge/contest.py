"""All contenders on the same measured queries: one row for each, its controls, and its verdict.

A contender is a function that fits on measured queries and answers for others, so that nothing here depends
on a particular estimator, its features or its dial.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import msgspec
import numpy as np

from dami_merge.estimators.estimate import Estimate
from dami_merge.estimators.examples import Examples, Numbers, Places
from dami_merge.estimators.judge.controls import Consistency, consistency, paraphrases, shuffled, uncut
from dami_merge.estimators.judge.dialled import Dialled, dialled
from dami_merge.estimators.judge.judgement import Bench, Judgement, bench, judge_routing
from dami_merge.estimators.judge.predictions import (
    Calibration,
    calibration,
    needed_auroc,
    thinking_gain,
)
from dami_merge.estimators.judge.resampled import Figure95
from dami_merge.estimators.judge.routing import Routing, over_seeds, routed, static
from dami_merge.estimators.judge.ruling import Rivalry, Ruling, Shuffled, rule
from dami_merge.estimators.judge.signatures import Signatures, signatures


@dataclass(frozen=True, slots=True, eq=False)
class Decided:
    """What a fitted contender says of n queries, and does with them.

    Attributes:
        estimate: Value and cost at every λ of the queries.
        spent: Tokens that its features cost, shape [n].
        places: Place of the λ of each query, shape [n].
        fallback: Place of the λ that its guard leaves only on evidence: the best static one.
    """

    estimate: Estimate
    spent: Numbers
    places: Places
    fallback: int

    @property
    def routing(self) -> Routing:
        """The decisions."""
        return routed(self.places, self.estimate.value.shape[1], self.spent)


Say = Callable[[Examples], Decided]
"""A fitted contender: it may look at prompts and groups, never at answers."""

Refit = Callable[[Examples, int], Say]
"""Fits a contender on measured queries with a seed."""


@dataclass(frozen=True, slots=True, eq=False)
class Contender:
    """One row of the table.

    Attributes:
        name: Name in the table.
        fitted: Fitted contenders, one for each seed.
        refit: Fits it again, for the control on shuffled labels; None if that is not possible.
        control: Whether it is a control itself: others must beat it, and it needs no control of its own.
    """

    name: str
    fitted: tuple[Say, ...]
    refit: Refit | None = None
    control: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What contenders are tried on.

    Attributes:
        test: Measured queries that no contender was fitted on.
        train: Measured queries for the control on shuffled labels; None means no such control.
        heldout: Measured queries of a family that no contender was fitted on.
        paraphrased: Measured paraphrases of some test queries.
        shuffles: Number of permutations of the training labels.
        seed: Seed of resamples and permutations.
    """

    test: Examples
    train: Examples | None = None
    heldout: Examples | None = None
    paraphrased: Examples | None = None
    shuffles: int = 3
    seed: int = 0


class Elsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """A contender on the held-out family.

    Attributes:
        judgement: All figures there.
        over_static: Accuracy minus that of the static λ of its guard, which was chosen without this family.
        saved_of_static: Share of the tokens of that λ that are saved.
    """

    judgement: Judgement
    over_static: Figure95
    saved_of_static: Figure95


class ContestRow(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one contender.

    Attributes:
        name: Its name.
        control: Whether it is a control.
        judgement: Figures on the test queries.
        dialled: Its whole curve.
        calibration: How true its probabilities are; None for scores.
        auroc: AUROC of its value at λ = 1 minus that at λ = 0 for "Instruct wrong, Thinking right".
        signatures: The paper's failures in its λ.
        shuffled: The control on shuffled labels; None if not tried.
        uncut: Figures without answers that were cut at the cap; None if none was cut, or too few are left.
        paraphrased: What paraphrases do to its λ; None without paraphrases.
        heldout: The held-out family; None without one.
        ruling: The verdict.
    """

    name: str
    control: bool
    judgement: Judgement
    dialled: Dialled
    calibration: Calibration | None
    auroc: Figure95 | None
    signatures: Signatures
    shuffled: Shuffled | None
    uncut: Judgement | None
    paraphrased: Consistency | None
    heldout: Elsewhere | None
    ruling: Ruling


class StaticPoint(msgspec.Struct, frozen=True):
    """One λ for all test queries.

    Attributes:
        lam: λ; named `lambda` in JSON.
        accuracy: Mean accuracy.
        tokens: Mean tokens.
    """

    lam: Fraction = msgspec.field(name="lambda")
    accuracy: Figure95
    tokens: Figure95


def contest(
    trial: Trial, contenders: Sequence[Contender], on_row: Callable[[str], None] = lambda _: None
) -> tuple[ContestRow, ...]:
    """Judge all contenders, each against the hull, its controls and the contenders that are controls.

    Args:
        trial: What they are tried on.
        contenders: At least one.
        on_row: Called with the name of each contender before it is judged.
    """
    own = bench(trial.test, seed=trial.seed)
    short = _uncut_bench(trial)
    far = None if trial.heldout is None else bench(trial.heldout, seed=trial.seed)
    said = []
    for each in contenders:
        on_row(each.name)
        said.append([say(trial.test) for say in each.fitted])
    gains = {
        each.name: own.over_hull(over_seeds([one.routing for one in answers]))
        for each, answers in zip(contenders, said, strict=True)
    }
    controls = [each.name for each in contenders if each.control]
    rows = []
    for each, answers in zip(contenders, said, strict=True):
        on_row(each.name)
        rivals = tuple(
            Rivalry(name=name, ahead=own.draws.figure(gains[each.name] - gains[name]))
            for name in controls
            if name != each.name
        )
        row = _row(trial, own, each, answers, () if each.control else rivals)
        if short is not None:
            row = msgspec.structs.replace(row, uncut=_uncut(*short, answers))
        if far is not None:
            row = msgspec.structs.replace(row, heldout=_elsewhere(far, each))
        rows.append(row)
    return tuple(rows)


def static_points(trial: Trial) -> tuple[StaticPoint, ...]:
    """The static λ on the test queries, whose hull every contender is held against."""
    draws = bench(trial.test, seed=trial.seed).draws
    return tuple(
        StaticPoint(lam, draws.figure(draws.accuracy[:, place]), draws.figure(draws.tokens[:, place]))
        for place, lam in enumerate(trial.test.lambdas)
    )


def _row(
    trial: Trial, own: Bench, each: Contender, answers: list[Decided], rivals: tuple[Rivalry, ...]
) -> ContestRow:
    routings = [one.routing for one in answers]
    routing = over_seeds(routings)
    judgement = judge_routing(own, routings)
    signs = signatures(trial.test, routing)
    spoiled = None if each.control else _shuffled(trial, own, each)
    return ContestRow(
        name=each.name,
        control=each.control,
        judgement=judgement,
        dialled=dialled(own, [(one.estimate, one.spent) for one in answers]),
        calibration=calibration([one.estimate for one in answers], trial.test),
        auroc=needed_auroc(
            np.mean([thinking_gain(one.estimate) for one in answers], axis=0), trial.test, own.draws
        ),
        signatures=signs,
        shuffled=spoiled,
        uncut=None,
        paraphrased=_paraphrased(trial, each, routing),
        heldout=None,
        ruling=rule(judgement, signs, spoiled, rivals),
    )


def _shuffled(trial: Trial, own: Bench, each: Contender) -> Shuffled | None:
    if trial.train is None or each.refit is None:
        return None
    routings = []
    for number in range(trial.shuffles):
        seed = trial.seed + number
        routings.append(each.refit(shuffled(trial.train, seed), seed)(trial.test).routing)
    return Shuffled(
        gain=own.draws.figure(own.over_hull(over_seeds(routings))),
        each=tuple(own.measured(routing) for routing in routings),
    )


def _uncut_bench(trial: Trial) -> tuple[Bench, list[int]] | None:
    if not trial.test.cut.any():
        return None
    kept, places = uncut(trial.test)
    return (bench(kept, seed=trial.seed), places) if places else None


def _uncut(own: Bench, places: list[int], answers: list[Decided]) -> Judgement:
    routings = [one.routing for one in answers]
    return judge_routing(own, [Routing(each.shares[places], each.spent[places]) for each in routings])


def _paraphrased(trial: Trial, each: Contender, routing: Routing) -> Consistency | None:
    if trial.paraphrased is None:
        return None
    names = [[question.id for question in part.questions] for part in (trial.test, trial.paraphrased)]
    first, second = paraphrases(*names)
    others = trial.paraphrased.part(second)
    return consistency(
        trial.test.part(first),
        Routing(routing.shares[first], routing.spent[first]),
        others,
        over_seeds([say(others).routing for say in each.fitted]),
        seed=trial.seed,
    )


def _elsewhere(far: Bench, each: Contender) -> Elsewhere:
    answers = [say(far.examples) for say in each.fitted]
    routings = [one.routing for one in answers]
    routing = over_seeds(routings)
    count, width = far.examples.accuracy.shape
    kept = over_seeds([static(one.fallback, count, width) for one in answers])
    draws = far.draws
    accuracy, tokens = (
        [draws.mean(values(far.examples)) for values in pair]
        for pair in ((routing.accuracy, kept.accuracy), (routing.tokens, kept.tokens))
    )
    return Elsewhere(
        judgement=judge_routing(far, routings),
        over_static=draws.figure(accuracy[0] - accuracy[1]),
        saved_of_static=draws.figure(1 - tokens[0] / np.maximum(tokens[1], 1e-12)),
    )
