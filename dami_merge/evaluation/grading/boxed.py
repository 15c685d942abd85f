r"""What stands in `\boxed{…}`. Knows LaTeX braces only, and nothing of mathematics."""

import re
from dataclasses import dataclass

_PART = re.compile(r"(?P<box>\\(?:boxed|fbox)(?![A-Za-z])\s*\{?)|\\.|[{}]", re.DOTALL)
_JOIN = re.compile(
    r"(?:[ $]|\\quad|\\qquad)*(?:,|;|(?:,[ $]*)?(?:and|or|\\text\{ *(?:and|or) *\}))(?:[ $]|\\quad|\\qquad)*"
)
_TOKEN = re.compile(r"\\[A-Za-z]+|[^\s$\\.,]+")
_TEXT = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Boxed:
    """The last box of a text.

    Attributes:
        content: What stands in it; of boxes that only a comma, `and` or `or` divide, all with commas
            between. None if the text has no box that is not empty, or the last is not closed.
        cut: The last box is not closed.
    """

    content: str | None
    cut: bool


def last_boxed(text: str) -> Boxed:
    r"""The content of the last `\boxed{…}` or `\fbox{…}`, braces balanced; `\boxed 5` holds one token.

    Empty boxes do not count: a model that repeats its instructions writes `\boxed{}`.
    """
    boxes, open_at = _boxes(text)
    contents: list[str] = []
    end = 0
    for start, after, content in boxes:
        if start < end or not content:
            continue  # inside the one before, or empty
        if contents and not _JOIN.fullmatch(text, end, start):
            contents.clear()
        contents.append(content)
        end = after
    if open_at >= 0 and (not boxes or boxes[-1][0] < open_at):
        return Boxed(None, cut=True)
    return Boxed(", ".join(contents) if contents else None, cut=False)


def plain(text: str) -> str:
    r"""A text without the LaTeX around words: `\text{yes}` and `$yes$` are `yes`; white space normalised."""
    return " ".join(_TEXT.sub(r"\1", text.replace("$", " ")).split())


def _boxes(text: str) -> tuple[list[tuple[int, int, str]], int]:
    """Start, end and content of every closed box, by start, and where the last open one starts, or -1.

    One pass: a model caught in a loop may write thousands of boxes and close none.
    """
    boxes: list[tuple[int, int, str]] = []
    opened: list[re.Match[str] | None] = []  # None for a brace that is no box's
    for part in _PART.finditer(text):
        if part["box"] and not part[0].endswith("{"):
            token = _TOKEN.match(text, part.end())
            boxes.append((part.start(), token.end() if token else part.end(), token[0] if token else ""))
        elif part["box"] or part[0] == "{":
            opened.append(part if part["box"] else None)
        elif part[0] == "}" and opened and (box := opened.pop()) is not None:
            boxes.append((box.start(), part.end(), text[box.end() : part.start()].strip()))
    return sorted(boxes), max((box.start() for box in opened if box is not None), default=-1)
