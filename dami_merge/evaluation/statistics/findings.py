"""What a sweep means, in sentences: what λ buys, which λ are worth serving, where the path goes wrong."""

from collections.abc import Sequence

from dami_merge.evaluation.statistics.interval import FEWEST
from dami_merge.evaluation.statistics.monotone import Violation
from dami_merge.evaluation.statistics.serving_grid import Served
from dami_merge.evaluation.statistics.summary import Comparison, Section
from dami_merge.evaluation.statistics.wording import names, resampled, share_of_resamples, token_count
from dami_merge.lambdas import label

LIKELY = 0.95
"""Smallest share of resamples at which a fall is reported as such. Source: ours."""


def findings(section: Section) -> tuple[str, ...]:
    """Describe a section, the most important first; `verdict` says what it comes to.

    Returns:
        At least one sentence.
    """
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
    dominated = "" if comparison.serving is None else _dominated(comparison)
    worth = (dominated, _serving(comparison))
    return tuple(
        sentence
        for sentence in (
            _ends(comparison),
            *(worth if right else ()),
            *_falls(comparison),
            _stages(comparison),
            _unfinished(section, comparison),
        )
        if sentence
    )


def _percent_points(share: float) -> str:
    return f"{100 * share:.3g} {'point' if share == 0.01 else 'points'}"


def _ends(comparison: Comparison) -> str:
    first, last = comparison.points[0], comparison.points[-1]
    tokens = f"{token_count(first.tokens)} to {token_count(last.tokens)}"
    ratio = f", a factor of {_times(last.tokens / first.tokens)}" if first.tokens > 0 else ""
    return (
        f"From λ = {label(first.lam)} to λ = {label(last.lam)}, accuracy goes from {first.accuracy:.1%} to"
        f" {last.accuracy:.1%}, and mean tokens go from {tokens}{ratio}."
    )


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.3g}"


def _dominated(comparison: Comparison) -> str:
    beaten = [standing for standing in comparison.pareto.standings if standing.dominated_by]
    if not beaten:
        return "Every λ is on the Pareto frontier: a more accurate λ always uses more tokens."
    told = "; ".join(f"{label(each.lam)} by {names(each.dominated_by)}" for each in beaten)
    return f"Dominated (another λ is at least as accurate and uses no more tokens): {told}."


def _serving(comparison: Comparison) -> str:
    serving = comparison.serving
    if serving is None:
        return (
            f"No λ is recommended for serving: with fewer than {FEWEST} questions, the next question may"
            " change the order."
        )
    said = f"Worth serving: λ = {names(serving.lambdas)}{_frontier_shares(serving.members)}."
    if len(serving.lambdas) == len(comparison.points):
        return (
            f"{said} These are all λ: leaving one out costs more than {_percent_points(serving.allowed)} of"
            " accuracy at some token budget."
        )
    sampled = any(each.frontier_share is not None for each in serving.members)
    unless = ", unless the difference may be noise" if sampled else ""
    said += (
        f" At every token budget, the most accurate of these is within {_percent_points(serving.allowed)} of"
        f" the most accurate of all {len(comparison.points)} λ{unless}."
    )
    if not serving.unclear:
        return said
    verb = "was" if len(serving.unclear) == 1 else "were"
    return (
        f"{said} λ = {', '.join(map(_unclear, serving.unclear))} {verb} left out: {comparison.questions:,}"
        " questions cannot tell whether that helps."
    )


def _frontier_shares(members: Sequence[Served]) -> str:
    """Say how sure the members are to be on the frontier; published points have no resamples."""
    shares = [each.frontier_share for each in members if each.frontier_share is not None]
    if not shares:
        return ""
    least = min(shares)
    if len(members) == 1:
        return f", which is on the frontier in {share_of_resamples(least)} of resamples"
    if least == max(shares) or round(least, 2) == 1:
        return f", each on the frontier in {share_of_resamples(least)} of resamples"
    unsure = next(each for each in members if each.frontier_share == least)
    return (
        f", each on the frontier in at least {share_of_resamples(least)} of resamples"
        f" (the least sure is {label(unsure.lam)})"
    )


def _unclear(each: Served) -> str:
    assert each.better_than is not None, "only λ with a cheaper member are unclear"  # noqa: S101
    assert each.better_share is not None, "only resamples leave λ unclear"  # noqa: S101
    return (
        f"{label(each.lam)} (more accurate than {label(each.better_than)} in"
        f" {share_of_resamples(each.better_share)} of resamples)"
    )


def _falls(comparison: Comparison) -> list[str]:
    """Describe falls that are likely, or that are facts about points without rollouts; count the others."""
    if comparison.serving is None:
        return []  # of too few questions, no fall is known
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
    drop = (
        f"{100 * violation.drop:.1f} points"
        if violation.metric == "accuracy"
        else token_count(violation.drop)
    )
    sure = resampled(violation.confidence)
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
