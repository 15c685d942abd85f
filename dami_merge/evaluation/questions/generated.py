"""Questions that reasoning-gym generates (the extra `datasets`), seeded."""

import re
from difflib import get_close_matches
from typing import Any

from dami_merge.errors import DamiMergeError, InputRefused, Problem, UsageError
from dami_merge.evaluation.questions.records import Record

DEFAULT_SEED = 0

_SPEC = re.compile(r"(?P<name>\w+):(?P<count>[1-9]\d*)(?::seed=(?P<seed>\d+))?")


def gym_records(spec: str) -> list[Record]:
    """Generate questions, as records of the shape `reasoning-gym`.

    Their kind is `math` where the answer is a number, else `exact`. The generator's own `score_answer` is not
    asked: it gives parts of a point for wrong forms, and of generators with many right answers (countdown,
    n_queens, graph searches) knows them all where here only the one that was generated is right. Those want
    a grader of the user's own.

    Args:
        spec: `name:count[:seed=N]`, such as `chain_sum:200:seed=7`; the seed is 0 unless it is named.

    Returns:
        The same for the same spec and release of reasoning-gym.

    Raises:
        UsageError: `spec` is not of this form.
        InputRefused: There is no such generator, or it refuses.
        DamiMergeError: reasoning-gym is not installed.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise UsageError(f"gym:{spec} names no generated questions", hint="gym:chain_sum:200:seed=7")
    library = _reasoning_gym()
    name, count, seed = match["name"], int(match["count"]), int(match["seed"] or DEFAULT_SEED)
    if name not in library.factory.DATASETS:
        near = get_close_matches(name, library.factory.DATASETS) or sorted(library.factory.DATASETS)[:5]
        fact = f"reasoning-gym has no generator {name!r}"
        raise InputRefused([Problem("questions", fact, f"it has {', '.join(near)}, …")])
    try:
        dataset = library.create_dataset(name, seed=seed, size=count)
        entries = [dataset[number] for number in range(count)]
    except Exception as error:  # generators are foreign code of a hundred kinds
        fact = f"gym:{spec}: {type(error).__name__}: {error}"
        raise InputRefused([Problem("questions", fact, "take another generator")]) from error
    return [
        Record(f"entry {number}", {**entry, "id": f"{name}-{seed}-{number}"})
        for number, entry in enumerate(entries)
    ]


def _reasoning_gym() -> Any:
    try:
        import reasoning_gym
    except ImportError as error:
        message = "generated questions need reasoning-gym, which is not installed"
        raise DamiMergeError(message, hint="pip install 'dami-merge[datasets]'") from error
    return reasoning_gym
