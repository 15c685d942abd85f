"""One question: its prompt and its correct answer. Knows nothing about files or models."""

from dataclasses import dataclass
from typing import Literal

AnswerKind = Literal["math", "choice", "exact"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, with the field names of OpenAI and of chat templates."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        id: Unique within its source.
        messages: The prompt: at least one message, the last from the user.
        answer: The correct answer; a letter for `choice`.
        group: Group by which results are split, such as a subject or a difficulty; may be empty.
        kind: How an answer is graded.
    """

    id: str
    messages: tuple[Message, ...]
    answer: str
    group: str = ""
    kind: AnswerKind = "math"
