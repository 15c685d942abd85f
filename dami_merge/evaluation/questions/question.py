"""One question: what is asked, and what the right answer is. Knows nothing of files or models."""

from dataclasses import dataclass
from typing import Literal

AnswerKind = Literal["math", "choice", "exact"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation, as OpenAI and chat templates name it."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        id: Unique in its file.
        messages: What is asked; at least one, the last from the user.
        answer: The right answer; a letter for `choice`.
        group: What results are split by, such as a subject or a difficulty; may be empty.
        kind: How an answer is graded.
    """

    id: str
    messages: tuple[Message, ...]
    answer: str
    group: str = ""
    kind: AnswerKind = "math"
