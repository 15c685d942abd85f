"""The fifth question, a dial or a switch: what its answer rests on, and what to do next. Source: ours."""

from collections import Counter
from typing import TYPE_CHECKING

from dami_merge.connectivity.dial import LEAST_PROMPTS, Dial, Rise, share_at
from dami_merge.lambdas import label

if TYPE_CHECKING:
    from dami_merge.connectivity.path import PathReport

_ONLY_A_SWEEP = "only a `sweep` can tell whether λ is a dial or a switch"


def dial_holds(dial: Dial | None) -> bool | None:
    """Whether λ is a dial; None if nothing can be said."""
    return None if dial is None or dial.kind == "unclear" else dial.kind == "dial"


def dial_fact(dial: Dial | None) -> str:
    """Say in one sentence what the answer rests on, or why there is none."""
    if dial is None:
        return 'give texts with a prompt, {"prompt": …}, to find out'
    if not dial.by_first_token and not dial.by_answers:
        return _open_fact(dial)
    (_, share), rise = dial.curve, dial.decisive
    subject = "short answers like Thinking's" if dial.by_answers else "answers that begin as Thinking's do"
    ends = f"{subject}: {share[0]:.0%} at λ = 0, {share[-1]:.0%} at λ = 1"
    where = f"between λ = {label(rise.start)} and {label(rise.stop)}"
    if dial.kind == "dial":
        return f"{ends}; at most {rise.part:.0%} of this change lies {where}"
    return f"{ends}; {rise.part:.0%} of this change lies {where}{_together(dial, rise)}"


def _open_fact(dial: Dial) -> str:
    if len(dial.starts) < LEAST_PROMPTS:
        return f"only {len(dial.starts)} of the texts have a prompt; {LEAST_PROMPTS} are the fewest that tell"
    return f"both models begin alike: the probabilities of the next token differ by {dial.apart:.0%} only"


def _together(dial: Dial, rise: Rise) -> str:
    if not dial.by_first_token:
        return ""
    return f", where {dial.flips_within(rise)} of {len(dial.starts)} prompts turn"


def dial_steps(path: "PathReport") -> list[str]:
    """Say what follows from a switch, or from a path that leaves the question open."""
    dial = path.dial
    if dial is None:
        return [f"{_ONLY_A_SWEEP}, or texts with prompts"]
    if dial.kind == "unclear":
        more = "" if dial.written or len(dial.starts) < LEAST_PROMPTS else ", or short answers (--answers 48)"
        return [f"{_ONLY_A_SWEEP} here{more}"]
    if dial.kind == "dial":
        return []
    rise = dial.decisive
    before, after = (share_at(*dial.curve, lam) for lam in (rise.start, rise.stop))
    like = "are like Thinking's" if dial.by_answers else "begin as Thinking's"
    steps = [
        "serve the two models themselves and route between them: λ is a switch. At λ ="
        f" {label(rise.start)}, {before:.0%} of the answers {like}, at {label(rise.stop)} {after:.0%}, and"
        " between two neighbouring λ there is nothing to choose"
    ]
    if dial.by_first_token:
        first, last = dial.span
        steps.append(
            f"if you need values in between, sweep λ from {label(first)} to {label(last)}: outside, λ changes"
            " little"
        )
    return steps


def beginnings(dial: Dial) -> tuple[str, str]:
    """Return the most frequent first difference: what Instruct writes there, and what Thinking writes."""
    sides = [(start.instruct, start.thinking) for start in dial.starts]
    instruct, thinking = (Counter(side).most_common(1)[0][0] for side in zip(*sides, strict=True))
    return instruct, thinking
