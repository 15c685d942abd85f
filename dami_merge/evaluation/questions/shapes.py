r"""The fields of known datasets: turn one record into one question. Knows no files and no network."""

import hashlib
import math
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast, get_args

from dami_merge.evaluation.questions.question import AnswerKind, Message

Fields = Mapping[str, object]

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:/[1-9]\d*)?")
_LETTER = re.compile(r"\(?([A-Za-z])[).]?")


class Unfit(Exception):
    """A record that cannot be turned into a question; the message says why."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A question whose prompt has no suffix yet and that may lack an id.

    Attributes:
        messages: The prompt, as in `Question`.
        answer: As in `Question`.
        id: Empty if the record has no id.
        group: As in `Question`.
        kind: As in `Question`.
        native: Whether the prompt is used as it is, without a suffix.
    """

    messages: tuple[Message, ...]
    answer: str
    id: str = ""
    group: str = ""
    kind: AnswerKind = "math"
    native: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """The records of one family of data sets.

    Attributes:
        fields: The fields that identify it, for messages.
        known: Whether a record, with field names in lower case, has this shape.
        draft: Turns a record into a draft; raises `Unfit`.
    """

    fields: str
    known: Callable[[Fields], bool]
    draft: Callable[[Fields], Draft]


def lower(fields: Fields) -> dict[str, object]:
    """Lower the field names and drop null fields: copies of one dataset differ in both."""
    return {name.strip().lower(): value for name, value in fields.items() if value is not None}


def shape_of(fields: Fields) -> str | None:
    """Return the name of the first shape that a record has; None if it has no known shape."""
    return next((name for name, shape in SHAPES.items() if shape.known(fields)), None)


def _has(*names: str) -> Callable[[Fields], bool]:
    return lambda fields: all(name in fields for name in names)


def _text(fields: Fields, name: str) -> str:
    """Return a string or number field as stripped, non-empty text."""
    value = fields.get(name)
    if value is None or value == "":
        raise Unfit(f"{name!r} is missing or empty")
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else str(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unfit(f"{name!r} is {reprlib.repr(value)}, not a string or a number")
    text = str(value).strip()
    if not text:
        raise Unfit(f"{name!r} is empty")
    return text


def _optional(fields: Fields, *names: str) -> str:
    """Return the first of these fields that is present; empty if none is."""
    present = next((name for name in names if fields.get(name, "") != ""), None)
    return _text(fields, present) if present else ""


def _asked(prompt: str) -> tuple[Message, ...]:
    return (Message("user", prompt),)


def _letter(answer: str) -> str:
    match = _LETTER.fullmatch(answer)
    if match is None:
        raise Unfit(f"the answer to a choice question must be a letter, not {reprlib.repr(answer)}")
    return match[1].upper()


def _native(fields: Fields) -> Draft:
    kind = _optional(fields, "kind") or "math"
    if kind not in get_args(AnswerKind):
        raise Unfit(f"'kind' is {reprlib.repr(kind)}, not one of {', '.join(get_args(AnswerKind))}")
    if "messages" in fields and "prompt" in fields:
        raise Unfit("has both 'prompt' and 'messages'")
    messages = _messages(fields["messages"]) if "messages" in fields else (Message("user", _raw(fields)),)
    answer = _text(fields, "answer")
    return Draft(
        messages,
        _letter(answer) if kind == "choice" else answer,
        id=_optional(fields, "id"),
        group=_optional(fields, "group"),
        kind=cast("AnswerKind", kind),
        native=True,
    )


def _raw(fields: Fields) -> str:
    """Return the prompt, not stripped."""
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise Unfit("'prompt' is missing, empty or not a string")
    return prompt


def _messages(value: object) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise Unfit("'messages' is not a non-empty list")
    messages = tuple(_message(turn) for turn in value)
    if messages[-1].role != "user":
        raise Unfit(f"the last message is from {reprlib.repr(messages[-1].role)}, not from 'user'")
    return messages


def _message(turn: object) -> Message:
    role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
    if isinstance(content, list):  # OpenAI's content parts
        parts = [part.get("text") if isinstance(part, dict) else None for part in content]
        content = "".join(part for part in parts if isinstance(part, str))
        if not all(isinstance(part, str) for part in parts):
            raise Unfit("'messages' contains a part that is not text")
    if not isinstance(role, str) or not isinstance(content, str):
        raise Unfit("a message needs a 'role' and a 'content' that are strings")
    return Message(role, content)


def _gsm8k(fields: Fields) -> Draft:
    answer = _text(fields, "answer").rpartition("####")[2]
    if not answer.strip():
        raise Unfit("'answer' has nothing after '####'")
    return Draft(_asked(_text(fields, "question")), answer.strip().replace(",", ""), _optional(fields, "id"))


def _problem(fields: Fields, prompt: str = "problem") -> Draft:
    level = _optional(fields, "level")
    return Draft(
        _asked(_text(fields, prompt)),
        _text(fields, "answer"),
        id=_optional(fields, "unique_id", "id"),
        group=_optional(fields, "subject", "type") or (level and f"level {level.removeprefix('Level ')}"),
    )


def _olympiad(fields: Fields) -> Draft:
    pictures = sorted(name for name in fields if name.startswith("image"))
    if pictures:
        raise Unfit(f"the question has an image ({pictures[0]!r}), which a text model cannot see")
    answers = fields["final_answer"]
    if isinstance(answers, str):
        answers = [answers]
    if (
        not isinstance(answers, list)
        or not answers
        or not all(isinstance(a, str) and a.strip() for a in answers)
    ):
        raise Unfit("'final_answer' is not a non-empty list of strings")
    context = _optional(fields, "context")
    return Draft(
        _asked((f"{context}\n\n" if context else "") + _text(fields, "question")),
        ", ".join(answer.strip().strip("$").strip() for answer in answers),
        id=_optional(fields, "id"),
        group=_optional(fields, "subfield"),
    )


def _gpqa(fields: Fields) -> Draft:
    question, right = _text(fields, "question"), _text(fields, "correct answer")
    wrong = [_text(fields, f"incorrect answer {number}") for number in (1, 2, 3)]
    if right in wrong:
        raise Unfit("the correct answer is also among the incorrect ones")
    # Sort by a digest of question and choice: the same in every release of Python and for any order of rows.
    choices = sorted(
        (right, *wrong), key=lambda choice: hashlib.sha256(f"{question}\0{choice}".encode()).digest()
    )
    lines = [f"{letter}) {choice}" for letter, choice in zip("ABCD", choices, strict=True)]
    return Draft(
        _asked("\n".join([question, "", *lines])),
        "ABCD"[choices.index(right)],
        id=_optional(fields, "record id", "id"),
        group=_optional(fields, "high-level domain", "subdomain"),
        kind="choice",
    )


def _bbh(fields: Fields) -> Draft:
    target = _text(fields, "target")
    choice = re.fullmatch(r"\(([A-Z])\)", target)
    return Draft(
        _asked(_text(fields, "input")),
        choice[1] if choice else target,
        id=_optional(fields, "id"),
        kind="choice" if choice else "exact",
    )


def _generated(fields: Fields) -> Draft:
    source = cast("Fields", fields["metadata"])
    if not isinstance(fields.get("answer"), str):
        raise Unfit(
            "'answer' is not a string: only the generator's own scorer could grade it, and is not used"
        )
    answer = _text(fields, "answer")
    group = _text(source, "source_dataset")
    return Draft(
        _asked(_text(fields, "question")),
        answer,
        id=_optional(fields, "id") or f"{group}-{_text(source, 'source_index')}",
        group=group,
        kind="math" if _NUMBER.fullmatch(answer) else "exact",
    )


def _is_generated(fields: Fields) -> bool:
    metadata = fields.get("metadata")
    return "question" in fields and isinstance(metadata, dict) and "source_dataset" in metadata


def _is_gsm8k(fields: Fields) -> bool:
    answer = fields.get("answer")
    return "question" in fields and isinstance(answer, str) and "####" in answer


SHAPES: dict[str, Shape] = {
    "native": Shape(
        "prompt or messages, answer", lambda fields: "prompt" in fields or "messages" in fields, _native
    ),
    "gpqa": Shape(
        "Question, Correct Answer, Incorrect Answer 1 to 3", _has("question", "correct answer"), _gpqa
    ),
    "olympiadbench": Shape("question, final_answer", _has("question", "final_answer"), _olympiad),
    "bbh": Shape("input, target", _has("input", "target"), _bbh),
    "reasoning-gym": Shape("question, answer, metadata with source_dataset", _is_generated, _generated),
    "gsm8k": Shape("question, answer with ####", _is_gsm8k, _gsm8k),
    "question": Shape("question, answer", _has("question", "answer"), lambda f: _problem(f, "question")),
    "problem": Shape("problem, answer (MATH, AIME, AMC)", _has("problem", "answer"), _problem),
}
"""Shapes in the order in which they are tried."""
