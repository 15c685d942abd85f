"""Texts to measure a path with, JSONL with one object per line, and how. Knows nothing about models."""

import json
from dataclasses import dataclass
from pathlib import Path

from dami_merge.errors import InputRefused, Problem
from dami_merge.files import is_special
from dami_merge.harmless import without_surrogates


@dataclass(frozen=True, slots=True)
class Text:
    """The content of one line.

    Attributes:
        prompt: The user's turn, rendered by the chat template and not scored if an answer follows; empty for
            plain text.
        scored: The text to score: a plain text, or the answer; empty to score the rendered prompt itself.
    """

    prompt: str
    scored: str


@dataclass(frozen=True, slots=True)
class PathSettings:
    """How to measure a path with texts.

    Attributes:
        max_tokens: Maximum length of a text; longer texts are truncated.
        temperature: Temperature at which the probabilities of the first tokens hold.
        written_tokens: Length of the greedy answers to write at every λ; 0 writes none.
    """

    max_tokens: int = 1024
    temperature: float = 1.0
    written_tokens: int = 0


DEFAULTS = PathSettings()


def read_texts(path: Path, *, limit: int | None = None) -> tuple[Text, ...]:
    """Read texts: `{"text": …}`, `{"prompt": …}` or `{"prompt": …, "answer": …}`, one per line.

    Args:
        path: A JSONL file in UTF-8; empty lines are skipped.
        limit: Maximum number of texts, taken from the start; None takes all.

    Raises:
        InputRefused: The file cannot be read, is empty or has malformed lines; names the first five lines.
    """
    try:
        if is_special(path):
            raise _refused(f"{path} is not a regular file")
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise _refused(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _refused(f"{path} is not UTF-8") from error
    texts, wrong = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        text = _text(line)
        if text is None:
            wrong.append(number)
        else:
            texts.append(text)
    if wrong:
        shown = ", ".join(map(str, wrong[:5])) + (", …" if len(wrong) > 5 else "")
        expected = 'neither {"text": …} nor {"prompt": …}'
        raise _refused(f"{path} has {len(wrong)} line(s) that are {expected}: {shown}")
    if not texts:
        raise _refused(f"{path} contains no texts")
    return tuple(texts[:limit])


def _text(line: str) -> Text | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    text, prompt, answer = value.get("text"), value.get("prompt"), value.get("answer", "")
    if isinstance(text, str) and text:
        found = Text("", text)
    elif isinstance(prompt, str) and prompt and isinstance(answer, str):
        found = Text(prompt, answer)
    else:
        return None
    whole = found.prompt + found.scored
    return found if without_surrogates(whole) == whole else None  # half a character cannot be tokenized


def _refused(message: str) -> InputRefused:
    hint = 'write one JSON object per line, such as {"prompt": "What is 2+2?", "answer": "4"}'
    return InputRefused([Problem("texts", message, hint)])
