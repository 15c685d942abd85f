"""Texts to walk a path with: JSONL, one object a line. Knows files and nothing of models."""

import json
from dataclasses import dataclass
from pathlib import Path

from dami_merge.errors import InputRefused, Problem


@dataclass(frozen=True, slots=True)
class Text:
    """What one line says.

    Attributes:
        prompt: Goes through the chat template as the user's turn and is not scored if something follows it;
            empty for plain text.
        scored: What is scored: a plain text, or the answer; empty to score the rendered prompt itself.
    """

    prompt: str
    scored: str


def read_texts(path: Path, *, limit: int | None = None) -> tuple[Text, ...]:
    """Read `{"text": …}`, `{"prompt": …}` or `{"prompt": …, "answer": …}`, one a line.

    Args:
        path: A JSONL file, UTF-8; empty lines are skipped.
        limit: Take so many from the start.

    Raises:
        InputRefused: It cannot be read, is empty, or lines are of no such form; the first five are named.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
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
        raise _refused(f'{path}: {len(wrong)} line(s) are neither {{"text": …}} nor {{"prompt": …}}: {shown}')
    if not texts:
        raise _refused(f"{path} holds no text")
    return tuple(texts[:limit])


def _text(line: str) -> Text | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    text, prompt, answer = value.get("text"), value.get("prompt"), value.get("answer", "")
    if isinstance(text, str) and text:
        return Text("", text)
    if isinstance(prompt, str) and prompt and isinstance(answer, str):
        return Text(prompt, answer)
    return None


def _refused(message: str) -> InputRefused:
    hint = 'one JSON object a line, such as {"prompt": "What is 2+2?", "answer": "4"}'
    return InputRefused([Problem("texts", message, hint)])
