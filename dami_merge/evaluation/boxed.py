r"""What stands in `\boxed{…}`. Knows LaTeX braces only, and nothing of mathematics."""

import re
from dataclasses import dataclass

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_JOIN = re.compile(
    r"(?:[ $]|\\quad|\\qquad)*(?:,|;|(?:,[ $]*)?(?:and|or|\\text\{ *(?:and|or) *\}))(?:[ $]|\\quad|\\qquad)*"
)
_TOKEN = re.compile(r"\\[A-Za-z]+|[^\s$\\.,]+")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_TEXT = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox)\s*\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Boxed:
    """The last box of a text.

    Attributes:
        content: What stands in it; of boxes that only a comma, `and` or `or` divide, all with commas
            between. None if the text has no box that is not empty.
        cut: The last box is not closed.
    """

    content: str | None
    cut: bool


def last_boxed(text: str) -> Boxed:
    r"""The content of the last `\boxed{…}` or `\fbox{…}`, braces balanced; `\boxed 5` holds one token.

    Empty boxes do not count: a model that repeats its instructions writes `\boxed{}`.
    """
    contents: list[str] = []
    end = 0
    for match in _BOX.finditer(text):
        if match.start() < end:
            continue  # inside the box before
        content, after = _content(text, match.end())
        if content is None:
            return Boxed(None, cut=True)
        if not content:
            continue
        if contents and not _JOIN.fullmatch(text, end, match.start()):
            contents.clear()
        contents.append(content)
        end = after
    return Boxed(", ".join(contents) if contents else None, cut=False)


def plain(text: str) -> str:
    r"""A text without the LaTeX around words: `\text{yes}` and `$yes$` are `yes`; white space normalised."""
    return " ".join(_TEXT.sub(r"\1", text.replace("$", " ")).split())


def _content(text: str, start: int) -> tuple[str | None, int]:
    """What a box holds whose command ends at `start`, and where it ends; None if it is not closed."""
    if not text.startswith("{", start):
        token = _TOKEN.match(text, start)
        return (token[0], token.end()) if token else ("", start)
    depth = 0
    for match in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return text[start + 1 : match.start()].strip(), match.end()
    return None, len(text)
