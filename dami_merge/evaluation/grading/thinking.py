"""A generated text, split into its thinking block and what follows. Knows texts and tags only."""

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
    """One text in two parts.

    Attributes:
        state: None was begun, closed by its own tag, left open, or closed by a wrong tag.
        thinking: What was thought, its outer tags not included; empty where no block was begun.
        answer: What is graded, stripped; None where the block was left open.
    """

    state: Thinking
    thinking: str
    answer: str | None


def split_thinking(
    text: str, *, prefilled: bool = False, begin: str = BEGIN, end: str = END, grade_open: bool = False
) -> Split:
    r"""Split a generated text.

    The answer is what follows the block; after several, what follows the last. An end tag that nothing
    began closes what stands before it. If there is no end tag, the first that looks like one counts: with
    another slash, case or spacing, in square brackets, or with another word for thinking, as `</thought>`,
    `<\think>` and `</Think >`. A merge near the λ at which thinking appears writes such tags.

    Args:
        text: What the model generated.
        prefilled: The chat template has written the begin tag already, so that the text starts in the block.
        begin: The tag that begins a block.
        end: The tag that closes it.
        grade_open: Take an open block as its own answer. Below the λ at which blocks are closed, a merge
            that was given a prefilled tag may reason and answer in the open, and then stop: no block of
            such a λ is closed, yet half of its answers may be right.
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
    """What looks like the end tag: `<` or `[`, a slash before or after the word, `>` or `]`."""
    own = re.sub(r"^\W+|\W+$", "", end)
    words = "|".join(re.escape(word) for word in sorted({own, *_NAMES} - {""}, key=len, reverse=True))
    return re.compile(
        rf"[<\[]\s*\|?\s*(?:[/\\]\s*(?:{words})|(?:{words})\s*[/\\])\s*\|?\s*[>\]]", re.IGNORECASE
    )
