"""The conclusion of a sweep in a headline and plain sentences."""

from fractions import Fraction
from typing import TYPE_CHECKING

from dami_merge.evaluation.statistics.changes import Change, Curve
from dami_merge.evaluation.statistics.conclusion import Conclusion, ConclusionKind
from dami_merge.evaluation.statistics.interval import FEWEST, LEVEL
from dami_merge.evaluation.statistics.mixing import Gain
from dami_merge.evaluation.statistics.rival import MARGIN, Rival
from dami_merge.evaluation.statistics.summary import Comparison
from dami_merge.evaluation.statistics.wording import (
    names,
    points,
    resampled,
    share_of_resamples,
    token_count,
)
from dami_merge.lambdas import label

if TYPE_CHECKING:
    from collections.abc import Callable

HEADLINES: dict[ConclusionKind, str] = {
    "dial": "λ is a dial",
    "switch": "λ is a switch",
    "mixture": "λ is no better than mixing the two ends",
    "constant": "Accuracy does not depend on λ",
    "only ends": "Only the ends were measured",
    "none correct": "No answer is correct",
    "too few questions": "Too few questions to tell",
}

_MARGIN = f"{100 * MARGIN:.0f} points"
_NOUNS: dict[Curve, str] = {
    "opened": "the share of answers with a thinking block",
    "closed": "the share of answers with a closed thinking block",
    "tokens": "mean tokens",
    "accuracy": "accuracy",
}


def verdict(comparison: Comparison) -> tuple[str, ...]:
    """Say what the sweep comes to: first one sentence that stands alone, then its reasons.

    Returns:
        No sentence for a single λ.
    """
    found = comparison.conclusion
    if found is None:
        return ()
    tell: dict[ConclusionKind, Callable[[Comparison, Conclusion], tuple[str, ...]]] = {
        "dial": _dial,
        "switch": _switch,
        "mixture": _mixture,
        "constant": _constant,
        "only ends": _only_ends,
        "none correct": _none_correct,
        "too few questions": _too_few,
    }
    said = (*tell[found.kind](comparison, found), _suspected(found), _rival(found.rival))
    return tuple(sentence for sentence in said if sentence)


def _dial(comparison: Comparison, found: Conclusion) -> tuple[str, ...]:
    best = max(found.gains, key=lambda each: (each.lam in found.better, each.gain))
    between = len(comparison.points) - 2
    which = f"λ = {names(found.better)}"
    if len(found.better) == between > 1:
        which = f"all {between} λ between the ends"
    verb = "is" if len(found.better) == 1 else "are"
    return (
        f"λ is a dial here: {which} {verb} more accurate than {_mixing(comparison)} for the same tokens"
        f"{resampled(found.confidence)}.",
        f"The most is gained at λ = {label(best.lam)}: {points(best.gain, best.interval)} over that mixture.",
        _budgets(comparison),
        *_pace(comparison, found),
    )


def _budgets(comparison: Comparison) -> str:
    serving = comparison.serving
    if serving is None or len(serving.lambdas) < 2:
        return ""
    chosen = sorted(
        (each for each in comparison.points if each.lam in serving.lambdas), key=lambda each: each.tokens
    )
    told = ", ".join(
        f"λ = {label(each.lam)} from {token_count(each.tokens)} ({each.accuracy:.1%})" for each in chosen
    )
    return f"For a budget of mean tokens, serve {told}."


def _pace(comparison: Comparison, found: Conclusion) -> tuple[str, ...]:
    """Say how accuracy changes, and what changes in another way than accuracy."""
    by_name = {each.quantity: each for each in found.changes}
    accuracy = by_name.get("accuracy")
    gradual = accuracy is not None and accuracy.form == "gradual"
    said = []
    if accuracy is not None and accuracy.form == "coarse":
        said.append(
            f"{accuracy.share:.0%} of the change in accuracy is between λ = {label(accuracy.start)} and"
            f" λ = {label(accuracy.stop)}: only λ in between can tell whether it is gradual there."
        )
    if accuracy is not None and accuracy.form == "abrupt":
        said.append(_steep(accuracy, ""))
    if accuracy is not None and accuracy.form == "there and back":
        said.append(_detour(comparison, accuracy))
    for name in ("closed", "opened"):
        block = by_name.get(name)
        if block is not None and block.form == "abrupt" and (accuracy is None or accuracy.form != "abrupt"):
            said.append(_steep(block, ", while accuracy changes gradually" if gradual else ""))
            break
    return tuple(said)


def _detour(comparison: Comparison, accuracy: Change) -> str:
    """Name the λ whose accuracy is furthest outside of that of the ends."""
    first, *inner, last = comparison.points
    low, high = sorted((first.accuracy, last.accuracy))
    furthest = max(inner, key=lambda each: max(low - each.accuracy, each.accuracy - high))
    where = "below" if furthest.accuracy < low else "above"
    return (
        f"Accuracy goes there and back{resampled(accuracy.confidence)}: at λ = {label(furthest.lam)} it is"
        f" {furthest.accuracy:.1%}, {where} both ends ({first.accuracy:.1%} and {last.accuracy:.1%})."
    )


def _steep(change: Change, rest: str) -> str:
    return (
        f"{change.share:.0%} of the change in {_NOUNS[change.quantity]} is between λ = {label(change.start)}"
        f" and λ = {label(change.stop)}{resampled(change.confidence)}{rest}."
    )


def _switch(comparison: Comparison, found: Conclusion) -> tuple[str, ...]:
    assert found.start is not None, "a switch has a place"  # noqa: S101
    assert found.stop is not None, "a switch has a place"  # noqa: S101
    sudden = {each.quantity for each in found.changes if each.form == "abrupt"}
    parts = [
        f"{each.share:.0%} of the change in {_NOUNS[each.quantity]}"
        for each in found.changes
        if each.form == "abrupt"
        and each.start >= found.start
        and each.stop <= found.stop
        and not (each.quantity == "closed" and "opened" in sudden)
    ]
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    before = [point.lam for point in comparison.points if point.lam <= found.start]
    after = [point.lam for point in comparison.points if point.lam >= found.stop]
    return (
        f"λ is a switch here: {_side(before, first=True)}, {_side(after, first=False)}"
        f"{resampled(found.confidence)}.",
        f"Between these two lie {listed}.",
        _between(comparison, found),
    )


def _side(lambdas: list[Fraction], *, first: bool) -> str:
    if first:
        edge, model = lambdas[-1], lambdas[0]
        return f"up to λ = {label(edge)} the model answers much as {_model(model)}"
    edge, model = lambdas[0], lambdas[-1]
    return f"from λ = {label(edge)} on much as {_model(model)}"


def _model(lam: Fraction) -> str:
    return {Fraction(0): "Instruct", Fraction(1): "Thinking"}.get(lam, f"λ = {label(lam)}")


def _between(comparison: Comparison, found: Conclusion) -> str:
    """Say what the λ between the ends of a switch are worth."""
    mixing = _mixing(comparison)
    if found.better:
        verb = "is" if len(found.better) == 1 else "are"
        return f"Still, λ = {names(found.better)} {verb} more accurate than {mixing} for the same tokens."
    most = max(found.gains, key=_upper)
    limit = f"; the interval of λ = {label(most.lam)} reaches highest, to {100 * _upper(most):+.1f} points"
    hull = set(comparison.pareto.hull) == {comparison.points[0].lam, comparison.points[-1].lam}
    start = f"The hull is the two ends, so {mixing}" if hull else mixing[0].upper() + mixing[1:]
    return (
        f"{start} buys as much as any λ between, as far as {comparison.questions:,} questions can tell"
        f"{limit if most.interval else ''}."
    )


def _mixing(comparison: Comparison) -> str:
    ends = comparison.points[0].lam, comparison.points[-1].lam
    return f"sending a share of the queries to λ = {label(ends[0])} and the rest to λ = {label(ends[1])}"


def _upper(gain: Gain) -> float:
    return gain.gain if gain.interval is None else gain.interval.high


def _mixture(comparison: Comparison, found: Conclusion) -> tuple[str, ...]:
    return (
        f"No λ between the ends is better than mixing them: {_mixing(comparison)} is as accurate for the same"
        f" tokens, within {_MARGIN}{resampled(found.confidence)}.",
        *_pace(comparison, found),
    )


def _constant(comparison: Comparison, found: Conclusion) -> tuple[str, ...]:
    cheapest = min(comparison.points, key=lambda each: (each.tokens, each.lam))
    return (
        f"Accuracy does not depend on λ here, within {_MARGIN}{resampled(found.confidence)}:"
        f" serve the λ with the fewest tokens, λ = {label(cheapest.lam)}.",
        *_pace(comparison, found),
    )


def _only_ends(comparison: Comparison, _: Conclusion) -> tuple[str, ...]:
    first, last = comparison.points
    return (
        f"Only λ = {label(first.lam)} and λ = {label(last.lam)} were measured: a sweep of more λ can tell"
        " whether λ is a dial or a switch between them.",
    )


def _none_correct(_: Comparison, __: Conclusion) -> tuple[str, ...]:
    return (
        "No answer is correct at any λ, so the λ cannot be ranked. Check the generated texts, the token cap"
        " and the grader.",
    )


def _too_few(comparison: Comparison, found: Conclusion) -> tuple[str, ...]:
    count = comparison.questions
    if count < FEWEST:
        why = "one question says nothing about others" if count == 1 else f"there are only {count}"
        return (
            f"Too few questions to conclude anything: {why}. Intervals and confidences are given from"
            f" {FEWEST} questions on; of fewer, they would claim far more than is known.",
        )
    if not found.gains or not any(change.quantity == "accuracy" for change in found.changes):
        return (
            "Too few questions to tell whether λ changes accuracy: no λ is clearly more accurate than"
            f" another on {count:,} questions{_needed(found.needed)}.",
        )
    best = max(found.gains, key=lambda each: each.gain)
    return (
        f"Too few questions to tell whether any λ between the ends is better than {_mixing(comparison)} for"
        f" the same tokens: the best on {count:,} questions is λ = {label(best.lam)},"
        f" {points(best.gain, best.interval)} over that mixture{_needed(found.needed)}.",
        *_pace(comparison, found),
    )


def _needed(questions: int | None) -> str:
    return "" if questions is None else f"; about {questions:,} questions would narrow this to ±{_MARGIN}"


def _suspected(found: Conclusion) -> str:
    if found.suspected is None:
        return ""
    return (
        "λ may be a switch: accuracy and the behaviour of the model change at one place in"
        f" {share_of_resamples(found.suspected)} of resamples, and {LEVEL:.0%} would be needed to say so."
    )


def _rival(found: Rival | None) -> str:
    if found is None:
        return ""
    each = found.difference
    assert each.tokens_ratio is not None, "a rival saves tokens"  # noqa: S101
    saving = f"{1 - each.tokens_ratio:.0%} fewer tokens"
    measured = points(each.accuracy, each.accuracy_interval)
    if not found.equal:
        return (
            f"Whether λ = {label(each.stop)}, which uses {saving}, is as accurate as Thinking cannot be told"
            f" from {each.questions:,} questions: {measured}{_needed(found.needed)}."
        )
    above = each.accuracy_interval is not None and each.accuracy_interval.low > 0
    claim = "is more accurate than Thinking" if above else f"is as accurate as Thinking, within {_MARGIN},"
    return f"λ = {label(each.stop)} {claim} with {saving}: {measured}."
