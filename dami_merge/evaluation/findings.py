"""What a sweep means, in sentences: what λ buys, which λ are worth serving, what is wrong with the path."""

from fractions import Fraction

from dami_merge.evaluation.bootstrap import Difference
from dami_merge.evaluation.monotone import Violation
from dami_merge.evaluation.summary import Comparison, Section
from dami_merge.lambdas import label

LIKELY = 0.95
"""Share of resamples from which a fall, or a difference, is told as one. Source: ours."""


def findings(section: Section) -> tuple[str, ...]:
    """The sentences of a section, the most important first; empty where nothing can be compared yet."""
    comparison = section.comparison
    if comparison is None or len(comparison.points) < 2:
        return ()
    return tuple(
        sentence
        for sentence in (
            _ends(comparison),
            _cheaper_than_thinking(comparison),
            _dominated(comparison),
            _serving(comparison),
            *_falls(comparison),
            _stages(comparison),
            _unfinished(section, comparison),
        )
        if sentence
    )


def _names(lambdas: tuple[Fraction, ...]) -> str:
    return ", ".join(label(lam) for lam in lambdas)


def _tokens(count: float) -> str:
    return f"{count:,.1f}" if count < 100 else f"{count:,.0f}"


def _ends(comparison: Comparison) -> str:
    first, last = comparison.points[0], comparison.points[-1]
    tokens = f"{_tokens(first.tokens)} to {_tokens(last.tokens)}"
    ratio = f", {last.tokens / first.tokens:.3g} times as many" if first.tokens > 0 else ""
    return (
        f"From λ = {label(first.lam)} to {label(last.lam)} accuracy goes from {first.accuracy:.1%} to"
        f" {last.accuracy:.1%}, and mean tokens from {tokens}{ratio}."
    )


def _cheaper_than_thinking(comparison: Comparison) -> str:
    """The cheapest λ that is not clearly less accurate than Thinking."""
    equal = [
        each
        for each in comparison.against_thinking
        if each.accuracy_interval.high >= 0 and each.tokens_interval.high < 0 and each.tokens_ratio
    ]
    if not equal:
        return ""
    best = min(equal, key=lambda each: each.tokens)
    return (
        f"λ = {label(best.stop)} takes {1 - (best.tokens_ratio or 1):.0%} fewer tokens than Thinking, and its"
        f" accuracy is not clearly lower: {_points(best)}."
    )


def _points(difference: Difference) -> str:
    low, high = difference.accuracy_interval.low, difference.accuracy_interval.high
    return f"{100 * difference.accuracy:+.1f} points, 95% interval {100 * low:+.1f} to {100 * high:+.1f}"


def _dominated(comparison: Comparison) -> str:
    beaten = [standing for standing in comparison.pareto.standings if standing.dominated_by]
    if not beaten:
        return "Every λ is on the frontier: none has both fewer tokens and more accuracy than another."
    told = "; ".join(f"{label(each.lam)} by {_names(each.dominated_by)}" for each in beaten)
    return f"Dominated (another λ is as accurate or more, and no dearer): {told}."


def _serving(comparison: Comparison) -> str:
    serving = comparison.serving
    if len(serving.lambdas) == len(comparison.points):
        return (
            f"Worth serving: all of them; to leave one out costs more than {100 * serving.allowed:g} point(s)"
            " at some budget."
        )
    return (
        f"Worth serving: λ = {_names(serving.lambdas)}. At every token budget one of these is within"
        f" {100 * serving.allowed:g} point(s) of the best of all {len(comparison.points)}."
    )


def _falls(comparison: Comparison) -> list[str]:
    """Falls that are likely, or that are facts; the rest are counted."""
    sure = [each for each in comparison.violations if each.confidence is None or each.confidence >= LIKELY]
    sentences = [_fall(each) for each in sure]
    rest = len(comparison.violations) - len(sure)
    if rest:
        sentences.append(
            f"{rest} smaller fall(s) between λ may be noise (less than {LIKELY:.0%} of resamples)."
        )
    return sentences


def _fall(violation: Violation) -> str:
    drop = f"{100 * violation.drop:.1f} points" if violation.metric == "accuracy" else _tokens(violation.drop)
    sure = "" if violation.confidence is None else f" ({violation.confidence:.1%} of resamples)"
    name = "Accuracy" if violation.metric == "accuracy" else "Mean tokens"
    return (
        f"{name} falls by {drop} from λ = {label(violation.start)} to {label(violation.stop)}{sure}:"
        " the path is not monotone there."
    )


def _stages(comparison: Comparison) -> str:
    found = comparison.stages
    if not found.switch:
        return ""
    return (
        f"Thinking blocks appear between λ = {label(found.switch[0])} and {label(found.switch[-1])}: closed"
        f" in {_closed(comparison, found.switch[0])} and {_closed(comparison, found.switch[-1])} of answers."
    )


def _closed(comparison: Comparison, lam: Fraction) -> str:
    (share,) = (point.closed for point in comparison.points if point.lam == lam)
    return "an unknown share" if share is None else f"{share:.1%}"


def _unfinished(section: Section, comparison: Comparison) -> str:
    if comparison.questions == section.questions:
        return ""
    return (
        f"Not finished: {comparison.questions} of {section.questions} questions have answers at every λ, and"
        " only those are compared."
    )
