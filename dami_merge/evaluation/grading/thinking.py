"""Split a generated text into its thinking block and what follows. Knows only texts and tags."""

import re
from dataclasses import dataclass
from typing import Literal

Thinking = Literal["none", "closed", "unclosed", "wrong-tag"]
"""State of a thinking block."""

BEGIN = "<think>"
END = "</think>"

_NAMES = ("think", "thinks", "thinking", "thin", "thought", "thoughts", "reason", "reasoning")


@dataclass(frozen=True, slots=True)
class Split:
    """A generated text in two parts.

    Attributes:
        state: Whether a block was begun, and whether it was closed by its own tag, left open, or closed by
            another tag.
        thinking: Content of the block without its outer tags; empty if no block was begun.
        answer: Text to grade, stripped; None if the block was left open, unless `grade_open`.
    """

    state: Thinking
    thinking: str
    answer: str | None


def split_thinking(
    text: str, *, prefilled: bool = False, begin: str = BEGIN, end: str = END, grade_open: bool = False
) -> Split:
    r"""Split a generated text.

    The answer is the text after the last block. An end tag without a begin tag closes all the text before it.
    If there is no end tag, the first tag that looks like one counts: with a different slash, case or spacing,
    in square brackets, or with another word for thinking, such as `</thought>`, `<\think>` and `</Think >`.
    Merges near the λ at which thinking appears write such tags.

    Args:
        text: The generated text.
        prefilled: Whether the chat template already wrote the begin tag, so that the text starts inside the
            block.
        begin: Tag that opens a block.
        end: Tag that closes it.
        grade_open: Whether an open block is graded as its own answer. Below the λ at which blocks are closed,
            a merge with a prefilled begin tag may reason, answer and stop without closing the block: no
            block is closed at such a λ, yet half of the answers may be correct.
    """
    thoughts, rest = "", text
    while True:
        before, tag, after = rest.partition(end)
        if not tag:
            break
        thoughts, rest = thoughts + before, after
        if begin not in after:
            return Split("closed", _inner(thoughts, begin), after.strip())
    wrong = _wrong_end(end).search(rest, max(rest.rfind(begin), 0))
    if wrong is not None:
        return Split(
            "wrong-tag", _inner(thoughts + rest[: wrong.start()], begin), rest[wrong.end() :].strip()
        )
    if not prefilled and begin not in text:
        return Split("none", "", text.strip())
    return Split("unclosed", _inner(thoughts + rest, begin), _open(rest, begin) if grade_open else None)


def _inner(thoughts: str, begin: str) -> str:
    return thoughts.strip().removeprefix(begin).strip()


def _open(rest: str, begin: str) -> str:
    return rest.rpartition(begin)[2].strip()


def _wrong_end(end: str) -> re.Pattern[str]:
    """Match tags that look like the end tag: `<` or `[`, a slash before or after the word, `>` or `]`."""
    own = re.sub(r"^\W+|\W+$", "", end)
    words = "|".join(re.escape(word) for word in sorted({own, *_NAMES} - {""}, key=len, reverse=True))
    return re.compile(
        rf"[<\[]\s*\|?\s*(?:[/\\]\s*(?:{words})|(?:{words})\s*[/\\])\s*\|?\s*[>\]]", re.IGNORECASE
    )
