"""What a sweep means, in sentences: what λ buys, which λ are worth serving, what is wrong with the path."""

from fractions import Fraction

from dami_merge.evaluation.statistics.bootstrap import Difference
from dami_merge.evaluation.statistics.monotone import Violation
from dami_merge.evaluation.statistics.summary import Comparison, Section
from dami_merge.lambdas import label

LIKELY = 0.95
"""Share of resamples from which a fall is told as one. Source: ours."""

_NOTHING_RIGHT = (
    "No answer is right at any λ, so that none is worth more than another: look at the texts, the cap on"
    " tokens and the grader."
)


def findings(section: Section) -> tuple[str, ...]:
    """The sentences of a section, the most important first; at least one."""
    comparison = section.comparison
    if comparison is None:
        return (
            "Nothing can be compared yet: no question has an answer at every λ. Finish the sweep, or leave λ"
            " out.",
        )
    if len(comparison.points) == 1:
        only = label(comparison.points[0].lam)
        return (f"Nothing can be compared: λ = {only} is the only one. Sweep another.",)
    right = max(point.accuracy for point in comparison.points) > 0
    worth = (_cheaper_than_thinking(comparison), _dominated(comparison), _serving(comparison))
    return tuple(
        sentence
        for sentence in (
            _ends(comparison),
            *(worth if right else (_NOTHING_RIGHT,)),
            *_falls(comparison),
            _stages(comparison),
            _unfinished(section, comparison),
        )
        if sentence
    )


def _names(lambdas: tuple[Fraction, ...]) -> str:
    return ", ".join(label(lam) for lam in lambdas)


def _percent_points(share: float) -> str:
    return f"{100 * share:.3g} {'point' if share == 0.01 else 'points'}"


def _tokens(count: float) -> str:
    return f"{count:,.1f}" if count < 100 else f"{count:,.0f}"


def _ends(comparison: Comparison) -> str:
    first, last = comparison.points[0], comparison.points[-1]
    tokens = f"{_tokens(first.tokens)} to {_tokens(last.tokens)}"
    ratio = f", {_times(last.tokens / first.tokens)} times as many" if first.tokens > 0 else ""
    return (
        f"From λ = {label(first.lam)} to {label(last.lam)} accuracy goes from {first.accuracy:.1%} to"
        f" {last.accuracy:.1%}, and mean tokens from {tokens}{ratio}."
    )


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def _cheaper_than_thinking(comparison: Comparison) -> str:
    """The cheapest λ that is not clearly less accurate than Thinking."""
    equal = [
        (each.tokens_ratio, each)
        for each in comparison.against_thinking
        if each.accuracy_interval.high >= 0
        and each.tokens_interval.high < 0
        and each.tokens_ratio is not None
    ]
    if not equal:
        return ""
    ratio, best = min(equal, key=lambda pair: pair[0])
    return (
        f"λ = {label(best.stop)} takes {1 - ratio:.0%} fewer tokens than Thinking, and its accuracy is not"
        f" clearly lower: {_points(best)}."
    )


def _points(difference: Difference) -> str:
    low, high = difference.accuracy_interval.low, difference.accuracy_interval.high
    return f"{100 * difference.accuracy:+.1f} points, 95% interval {100 * low:+.1f} to {100 * high:+.1f}"


def _dominated(comparison: Comparison) -> str:
    beaten = [standing for standing in comparison.pareto.standings if standing.dominated_by]
    if not beaten:
        return "Every λ is on the frontier: where one is more accurate than another, it takes more tokens."
    told = "; ".join(f"{label(each.lam)} by {_names(each.dominated_by)}" for each in beaten)
    return f"Dominated (another λ is as accurate or more, and no dearer): {told}."


def _serving(comparison: Comparison) -> str:
    serving = comparison.serving
    if len(serving.lambdas) == len(comparison.points):
        return (
            f"Worth serving: all of them; to leave one out costs more than {_percent_points(serving.allowed)}"
            " at some budget."
        )
    return (
        f"Worth serving: λ = {_names(serving.lambdas)}. At every token budget one of these is within"
        f" {_percent_points(serving.allowed)} of the best of all {len(comparison.points)}."
    )


def _falls(comparison: Comparison) -> list[str]:
    """Falls that are likely, or facts about points without rollouts; the others are counted."""
    sure = [each for each in comparison.violations if each.confidence is None or each.confidence >= LIKELY]
    sentences = [_fall(each) for each in sure]
    rest = len(comparison.violations) - len(sure)
    if rest:
        falls = "One further fall" if rest == 1 else f"{rest} further falls"
        sentences.append(f"{falls} between λ may be noise: in less than {LIKELY:.0%} of resamples.")
    return sentences


def _fall(violation: Violation) -> str:
    drop = f"{100 * violation.drop:.1f} points" if violation.metric == "accuracy" else _tokens(violation.drop)
    sure = "" if violation.confidence is None else f" ({violation.confidence:.1%} of resamples)"
    name = "Accuracy falls" if violation.metric == "accuracy" else "Mean tokens fall"
    return (
        f"{name} by {drop} from λ = {label(violation.start)} to {label(violation.stop)}{sure}:"
        " the path is not monotone there."
    )


def _stages(comparison: Comparison) -> str:
    found = comparison.stages
    if not found.switch:
        return ""
    first, last = found.switch[0], found.switch[-1]
    closed = {point.lam: point.closed or 0.0 for point in comparison.points}
    verb = "appear" if closed[first] < closed[last] else "do not appear steadily"
    return (
        f"Thinking blocks {verb} between λ = {label(first)} and {label(last)}: closed in {closed[first]:.1%}"
        f" and {closed[last]:.1%} of answers."
    )


def _unfinished(section: Section, comparison: Comparison) -> str:
    if comparison.questions == section.questions:
        return ""
    return (
        f"Not finished: {comparison.questions} of {section.questions} questions have answers at every λ, and"
        " only those are compared."
    )
