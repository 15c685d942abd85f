r"""Questions from wherever they are: a file, the bundled pair's, the Hub, a generator. No torch."""

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from dami_merge.bundled import bundled_split
from dami_merge.errors import InputRefused, Problem, UsageError
from dami_merge.evaluation.questions.question import AnswerKind, Message, Question
from dami_merge.evaluation.questions.records import Record, read_records
from dami_merge.evaluation.questions.shapes import SHAPES, Draft, Unfit, lower, shape_of

BUNDLED = "bundled"
HUB_PREFIX = "hf:"
GYM_PREFIX = "gym:"

SUFFIXES: dict[AnswerKind, str] = {
    "math": r"Please reason step by step, and put your final answer within \boxed{}.",
    "choice": r"Please reason step by step, and put the letter of your final answer within \boxed{}.",
    "exact": r"Please reason step by step, and put your final answer within \boxed{}.",
}
"""The first is the one of arXiv 2510.10977; the others are ours, after it."""


def read_questions(
    spec: str,
    *,
    shape: str | None = None,
    suffix: str | None = None,
    limit: int | None = None,
    shuffle_seed: int | None = None,
) -> tuple[Question, ...]:
    """Read questions.

    Args:
        spec: One of

            - a file: JSON Lines, a JSON list, BIG-Bench Hard's JSON, or CSV;
            - `bundled`, `bundled:train`, `bundled:validation` or `bundled:test`; the first is the last;
            - `hf:org/name[:config][:split][@revision]`, see `hub_questions.hub_records`;
            - `gym:name:count[:seed=N]`, see `generated.gym_records`.

            A file of such a name needs `./` before it.
        shape: One of `SHAPES`, to read all records as; None goes by the fields of the first record.
        suffix: Ends every prompt, after a line break; None is that of the kind in `SUFFIXES`, and an empty
            text none. Native records (`prompt` or `messages`) are taken as they are, whatever this says.
        limit: Take so many from the start, after shuffling.
        shuffle_seed: Put them into the order of this seed; None keeps theirs.

    Returns:
        The questions. One without an id gets its number in the source, counted from 1.

    Raises:
        InputRefused: There is nothing to read, or records are of another shape than the first, have no
            answer, or have the id of another; all such are found.
        UsageError: `spec` or `shape` is of no known form.
        HubError: The Hub cannot be reached, or has no such data set.
        DamiMergeError: An extra is not installed.
    """
    if shape is not None and shape not in SHAPES:
        raise UsageError(f"{shape!r} is not a format of questions", hint=", ".join(SHAPES))
    name, records, problems = _records(spec)
    if not records and not problems:
        raise InputRefused([Problem("questions", f"{name} holds no question")])
    questions = _questions(name, records, problems, shape=shape, suffix=suffix)
    if shuffle_seed is not None:
        questions = random.Random(shuffle_seed).sample(questions, len(questions))  # noqa: S311 - no secret
    return tuple(questions[:limit])


def _records(spec: str) -> tuple[str, Sequence[Record], Sequence[Problem]]:
    """The source's name for messages, its records, and what is wrong with entries that are none."""
    if spec == BUNDLED or spec.startswith(f"{BUNDLED}:"):
        return spec, *read_records(bundled_split(spec.partition(":")[2] or "test"))
    if spec.startswith(HUB_PREFIX):
        from dami_merge.evaluation.questions.hub_questions import hub_records

        return spec, hub_records(spec.removeprefix(HUB_PREFIX)), ()
    if spec.startswith(GYM_PREFIX):
        from dami_merge.evaluation.questions.generated import gym_records

        return spec, gym_records(spec.removeprefix(GYM_PREFIX)), ()
    return spec, *read_records(Path(spec).expanduser())


def _questions(
    name: str,
    records: Sequence[Record],
    problems: Sequence[Problem],
    *,
    shape: str | None,
    suffix: str | None,
) -> list[Question]:
    found = list(problems)
    questions: list[Question] = []
    places: dict[str, list[str]] = defaultdict(list)
    chosen = shape or _first_shape(name, records, problems)
    for number, record in enumerate(records, 1):
        fields = lower(record.fields)
        try:
            draft = _draft(fields, chosen)
        except Unfit as unfit:
            found.append(Problem("question", f"{name}, {record.place}: {unfit}"))
            continue
        question = _finished(draft, number, suffix)
        places[question.id].append(record.place)
        questions.append(question)
    found += [
        Problem("duplicate-id", f"{name}: the id {key!r} is at {' and '.join(same[:3])}")
        for key, same in places.items()
        if len(same) > 1
    ]
    if found:
        raise InputRefused(found)
    return questions


def _first_shape(name: str, records: Sequence[Record], problems: Sequence[Problem]) -> str:
    if not records:
        raise InputRefused(problems)
    fields = lower(records[0].fields)
    shape = shape_of(fields)
    if shape is None:
        known = "; ".join(f"{form.fields} ({key})" for key, form in SHAPES.items())
        fact = f"{name}, {records[0].place}: {_names(fields)} make no known question"
        raise InputRefused([*problems, Problem("question", fact, f"known are {known}")])
    return shape


def _draft(fields: dict[str, object], shape: str) -> Draft:
    form = SHAPES[shape]
    if not form.known(fields):
        raise Unfit(f"{_names(fields)} are of {_shape_text(fields)}, where {shape} ({form.fields}) is read")
    return form.draft(fields)


def _shape_text(fields: dict[str, object]) -> str:
    shape = shape_of(fields)
    return f"shape {shape}" if shape else "no known shape"


def _names(fields: dict[str, object]) -> str:
    return f"the fields {', '.join(map(repr, fields))}" if fields else "no fields"


def _finished(draft: Draft, number: int, suffix: str | None) -> Question:
    ending = "" if draft.native else SUFFIXES[draft.kind] if suffix is None else suffix
    *before, last = draft.messages
    if ending:
        last = Message(last.role, f"{last.content}\n{ending}")
    return Question(draft.id or str(number), (*before, last), draft.answer, draft.group, draft.kind)
