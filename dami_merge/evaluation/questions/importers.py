r"""Read questions from a file, the bundled pair, the Hub or a generator. Never imports torch."""

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
"""The suffix of `math` is from arXiv 2510.10977; the others are ours, modelled on it."""


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
            - `bundled:` and one of `BUNDLED_SPLITS`, such as `bundled:train`; `bundled` is `bundled:test`;
            - `hf:org/name[:config][:split][@revision]`, see `hub_questions.hub_records`;
            - `gym:name:count[:seed=N]`, see `generated.gym_records`.

            A file whose name looks like one of these needs `./` before it.
        shape: Shape of all records, one of `SHAPES`; None detects it from the fields of the first record.
        suffix: Text appended to every prompt after a line break; None uses `SUFFIXES`, and an empty string
            appends nothing. Native records (`prompt` or `messages`) never get a suffix.
        limit: Number of questions to keep from the start, after shuffling; None keeps all.
        shuffle_seed: Seed of the shuffle; None keeps the order of the source.

    Returns:
        The questions. A question without an id gets its position in the source, counted from 1.

    Raises:
        InputRefused: There is nothing to read, or records differ in shape from the first, have no answer, or
            repeat an id; all such records are reported.
        UsageError: `spec` is malformed, or `shape` is unknown.
        HubError: The Hub cannot be reached, or has no such dataset.
        DamiMergeError: An extra is not installed.
    """
    if shape is not None and shape not in SHAPES:
        raise UsageError(f"{shape!r} is not a known question format", hint=f"use one of {', '.join(SHAPES)}")
    name, records, problems = _records(spec)
    if not records and not problems:
        raise InputRefused([Problem("questions", f"{name} contains no questions")])
    questions = _questions(name, records, problems, shape=shape, suffix=suffix)
    if shuffle_seed is not None:
        questions = random.Random(shuffle_seed).sample(questions, len(questions))  # noqa: S311 - no secret
    return tuple(questions[:limit])


def _records(spec: str) -> tuple[str, Sequence[Record], Sequence[Problem]]:
    """Return the source's name for messages, its records, and the problems of malformed entries."""
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
            question = _finished(_draft(fields, chosen), number, suffix)
        except Unfit as unfit:
            found.append(Problem("question", f"{name}, {record.place}: {unfit}"))
            continue
        places[question.id].append(record.place)
        questions.append(question)
    found += [
        Problem("duplicate-id", f"{name}: duplicate id {key!r} at {' and '.join(same[:3])}")
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
        fact = f"{name}, {records[0].place}: unknown question format with {_names(fields)}"
        raise InputRefused([*problems, Problem("question", fact, f"known formats: {known}")])
    return shape


def _draft(fields: dict[str, object], shape: str) -> Draft:
    form = SHAPES[shape]
    if not form.known(fields):
        raise Unfit(
            f"expected the format {shape} ({form.fields}), found {_shape_text(fields)} with {_names(fields)}"
        )
    return form.draft(fields)


def _shape_text(fields: dict[str, object]) -> str:
    shape = shape_of(fields)
    return f"the format {shape}" if shape else "an unknown format"


def _names(fields: dict[str, object]) -> str:
    return f"the fields {', '.join(map(repr, fields))}" if fields else "no fields"


def _finished(draft: Draft, number: int, suffix: str | None) -> Question:
    try:
        "".join(
            (draft.id, draft.group, draft.answer, *(f"{m.role}{m.content}" for m in draft.messages))
        ).encode()
    except UnicodeEncodeError as error:
        raise Unfit(
            f"contains a lone surrogate ({error.object[error.start]!a}), half of a character"
        ) from error
    ending = "" if draft.native else SUFFIXES[draft.kind] if suffix is None else suffix
    *before, last = draft.messages
    if ending:
        last = Message(last.role, f"{last.content}\n{ending}")
    return Question(draft.id or str(number), (*before, last), draft.answer, draft.group, draft.kind)
