r"""The content of `\boxed{…}`. Knows only LaTeX braces, not mathematics."""

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
        content: Content of the last box; boxes separated only by a comma, `and` or `or` are joined with
            commas. None if every box is empty, there is no box, or the last box is not closed.
        cut: Whether the last box is not closed.
    """

    content: str | None
    cut: bool


def last_boxed(text: str) -> Boxed:
    r"""Find the last `\boxed{…}` or `\fbox{…}`, with balanced braces; `\boxed 5` holds one token.

    Empty boxes are ignored: a model that repeats its instructions writes `\boxed{}`.
    """
    boxes, open_at = _boxes(text)
    contents: list[str] = []
    end = 0
    for start, after, content in boxes:
        if start < end or not content:
            continue  # nested in the previous box, or empty
        if contents and not _JOIN.fullmatch(text, end, start):
            contents.clear()
        contents.append(content)
        end = after
    if open_at >= 0 and (not boxes or boxes[-1][0] < open_at):
        return Boxed(None, cut=True)
    return Boxed(", ".join(contents) if contents else None, cut=False)


def plain(text: str) -> str:
    r"""Strip the LaTeX around words and normalise whitespace: `\text{yes}` and `$yes$` become `yes`."""
    return " ".join(_TEXT.sub(r"\1", text.replace("$", " ")).split())


def _boxes(text: str) -> tuple[list[tuple[int, int, str]], int]:
    """Return (start, end, content) of each closed box, by start, and the start of the last open box or -1.

    A single pass: a model stuck in a loop may write thousands of boxes and close none.
    """
    boxes: list[tuple[int, int, str]] = []
    opened: list[re.Match[str] | None] = []  # None for a brace that opens no box
    for part in _PART.finditer(text):
        if part["box"] and not part[0].endswith("{"):
            token = _TOKEN.match(text, part.end())
            boxes.append((part.start(), token.end() if token else part.end(), token[0] if token else ""))
        elif part["box"] or part[0] == "{":
            opened.append(part if part["box"] else None)
        elif part[0] == "}" and opened and (box := opened.pop()) is not None:
            boxes.append((box.start(), part.end(), text[box.end() : part.start()].strip()))
    return sorted(boxes), max((box.start() for box in opened if box is not None), default=-1)
