"""Options that say what is asked of a router, for the commands that train one and that route."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dami_merge.estimators.fitted import Scalar
    from dami_merge.estimators.goal import Goal, Risk


_OPTIONS = (
    click.option("--mu", type=float, help="Price of tokens: the accuracy that a mean Thinking answer costs."),
    click.option("--tokens", type=click.FloatRange(min=0), help="Mean tokens per query that may be spent."),
    click.option(
        "--accuracy",
        metavar="SHARE|thinking[-DROP]",
        help="Accuracy to reach: 0.9, 90%, `thinking`, or `thinking-0.5%`.",
    ),
    click.option(
        "--risk",
        metavar="DROP,P",
        help="Exceed this drop in accuracy against Thinking with at most this probability: `1%,0.05`.",
    ),
    click.option(
        "--guard",
        type=float,
        help="Standard errors that must speak for leaving the best λ for all queries: 0, 0.5, 1 or 2; 0 is no"
        " guard.  [default: 1]",
    ),
)


def goal_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a goal; `goal_of` turns their values into one."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def goal_of(values: Mapping[str, Any]) -> "Goal | None":
    """The goal that options state; None if they state nothing.

    Args:
        values: Values of the options `mu`, `tokens`, `accuracy`, `risk` and `guard`.

    Raises:
        UsageError: A value cannot be read, or there are two goals.
    """
    from dami_merge.estimators.goal import Goal
    from dami_merge.estimators.tradeoff import DEFAULT_GUARD

    if all(value is None for value in values.values()):
        return None
    accuracy, drop = _accuracy(values["accuracy"])
    return Goal(
        mu=values["mu"],
        tokens=values["tokens"],
        accuracy=accuracy,
        drop=drop,
        risk=None if values["risk"] is None else _risk(values["risk"]),
        guard=DEFAULT_GUARD if values["guard"] is None else values["guard"],
    )


def _accuracy(text: str | None) -> tuple[float | None, float | None]:
    """An accuracy, or a drop against Thinking."""
    if text is None:
        return None, None
    head, _, rest = text.strip().partition("-")
    if head.strip().lower() == "thinking":
        return None, share_of(rest) if rest else 0.0
    return share_of(text), None


def _risk(text: str) -> "Risk":
    from dami_merge.errors import UsageError
    from dami_merge.estimators.goal import Risk

    drop, comma, probability = text.partition(",")
    if not comma:
        raise UsageError(f"the risk {text!r} is not a drop and a probability", hint="write --risk 1%,0.05")
    epsilon, delta = share_of(drop), share_of(probability)
    if not (0 < epsilon < 1 and 0 < delta < 1):
        raise UsageError(f"the risk {text!r} is not between 0 and 1", hint="write --risk 1%,0.05")
    return Risk(epsilon, delta)


def share_of(text: str) -> float:
    """Read a share such as 0.9 or 90%.

    Raises:
        UsageError: It is neither.
    """
    from dami_merge.errors import UsageError

    plain = text.strip()
    try:
        value = float(plain.removesuffix("%"))
    except ValueError:
        raise UsageError(f"{text!r} is not a share", hint="write 0.9 or 90%") from None
    return value / 100 if plain.endswith("%") else value


def scalars(pairs: tuple[str, ...]) -> "dict[str, Scalar]":
    """Read options of a fit, such as `rule=hard` or `ridge=0.01`.

    Raises:
        UsageError: One of them has no equals sign.
    """
    from dami_merge.errors import UsageError

    found: dict[str, Scalar] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign:
            raise UsageError(f"the option {pair!r} has no value", hint="write NAME=VALUE, such as rule=hard")
        found[name.strip()] = _scalar(value.strip())
    return found


def _scalar(text: str) -> "Scalar":
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
