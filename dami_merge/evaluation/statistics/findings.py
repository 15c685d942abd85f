"""What a sweep means, in sentences: what λ buys, which λ are worth serving, where the path goes wrong."""

from fractions import Fraction

from dami_merge.evaluation.statistics.bootstrap import Difference
from dami_merge.evaluation.statistics.monotone import Violation
from dami_merge.evaluation.statistics.summary import Comparison, Section
from dami_merge.lambdas import label

LIKELY = 0.95
"""Smallest share of resamples at which a fall is reported as such. Source: ours."""

_NOTHING_RIGHT = (
    "No answer is correct at any λ, so the λ cannot be ranked. Check the generated texts, the token cap and"
    " the grader."
)


def findings(section: Section) -> tuple[str, ...]:
    """Describe a section in at least one sentence, the most important first."""
    comparison = section.comparison
    if comparison is None:
        return (
            "Nothing can be compared yet: no question has an answer at every λ. Finish the sweep, or compare"
            " fewer λ.",
        )
    if len(comparison.points) == 1:
        only = label(comparison.points[0].lam)
        return (f"Nothing can be compared: λ = {only} is the only λ. Sweep at least one more.",)
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
    ratio = f", a factor of {_times(last.tokens / first.tokens)}" if first.tokens > 0 else ""
    return (
        f"From λ = {label(first.lam)} to λ = {label(last.lam)}, accuracy goes from {first.accuracy:.1%} to"
        f" {last.accuracy:.1%}, and mean tokens go from {tokens}{ratio}."
    )


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def _cheaper_than_thinking(comparison: Comparison) -> str:
    """Name the cheapest λ that is not clearly less accurate than Thinking; empty if there is none."""
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
        f"λ = {label(best.stop)} uses {1 - ratio:.0%} fewer tokens than Thinking without a clear loss of"
        f" accuracy: {_points(best)}."
    )


def _points(difference: Difference) -> str:
    low, high = difference.accuracy_interval.low, difference.accuracy_interval.high
    return f"{100 * difference.accuracy:+.1f} points (95% interval {100 * low:+.1f} to {100 * high:+.1f})"


def _dominated(comparison: Comparison) -> str:
    beaten = [standing for standing in comparison.pareto.standings if standing.dominated_by]
    if not beaten:
        return "Every λ is on the Pareto frontier: a more accurate λ always uses more tokens."
    told = "; ".join(f"{label(each.lam)} by {_names(each.dominated_by)}" for each in beaten)
    return f"Dominated (another λ is at least as accurate and uses no more tokens): {told}."


def _serving(comparison: Comparison) -> str:
    serving = comparison.serving
    if len(serving.lambdas) == len(comparison.points):
        return (
            f"Worth serving: all λ. Leaving one out costs more than {_percent_points(serving.allowed)} of"
            " accuracy at some token budget."
        )
    return (
        f"Worth serving: λ = {_names(serving.lambdas)}. At every token budget, the most accurate of these is"
        f" within {_percent_points(serving.allowed)} of the most accurate of all {len(comparison.points)} λ."
    )


def _falls(comparison: Comparison) -> list[str]:
    """Describe falls that are likely, or that are facts about points without rollouts; count the others."""
    sure = [each for each in comparison.violations if each.confidence is None or each.confidence >= LIKELY]
    sentences = [_fall(each) for each in sure]
    rest = len(comparison.violations) - len(sure)
    if rest:
        other = " other" if sure else ""
        falls, each = (f"One{other} fall", "it") if rest == 1 else (f"{rest}{other} falls", "each")
        sentences.append(
            f"{falls} in accuracy or tokens may be noise: {each} occurs in less than {LIKELY:.0%} of"
            " resamples."
        )
    return sentences


def _fall(violation: Violation) -> str:
    drop = f"{100 * violation.drop:.1f} points" if violation.metric == "accuracy" else _tokens(violation.drop)
    sure = "" if violation.confidence is None else f" (in {violation.confidence:.1%} of resamples)"
    name = "Accuracy falls" if violation.metric == "accuracy" else "Mean tokens fall"
    return (
        f"{name} by {drop} from λ = {label(violation.start)} to λ = {label(violation.stop)}{sure}:"
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
        f"Thinking blocks {verb} between λ = {label(first)} and λ = {label(last)}: the share of answers with"
        f" a closed block goes from {closed[first]:.1%} to {closed[last]:.1%}."
    )


def _unfinished(section: Section, comparison: Comparison) -> str:
    if comparison.questions == section.questions:
        return ""
    return (
        f"The sweep is unfinished: {comparison.questions} of {section.questions} questions have an answer at"
        " every λ, and only those are compared."
    )
