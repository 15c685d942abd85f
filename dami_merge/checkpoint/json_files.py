"""Parse the small JSON files of a checkpoint; their contents are untrusted.

Whatever is returned can be compared, walked and written again: it is valid Unicode and not nested deeply.
"""

import json
import re
from pathlib import Path

from dami_merge.errors import InputRefused, Problem

_MAX_DEPTH = 32
"""Real files have fewer than ten levels; Python's own limit would end a comparison with RecursionError."""

_MAY_BE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(path: Path, *, spec: str = "") -> object:
    """Parse a small JSON file.

    Args:
        path: The file.
        spec: The model that the file belongs to, as the user typed it, for the message.

    Raises:
        InputRefused: The file cannot be read, is not UTF-8 JSON, is nested deeper than 32 levels, or holds
            half of a surrogate pair, which no UTF-8 file can hold.
    """
    where = f"{spec}: {path.name}" if spec else path.name
    try:
        text = path.read_text(encoding="utf-8")
        content: object = json.loads(text)
        if _MAY_BE_SURROGATE.search(text):
            json.dumps(content, ensure_ascii=False).encode()
    except OSError as error:
        raise _refused(f"{where} cannot be read: {error.strerror}") from error
    except UnicodeEncodeError as error:
        half = f"U+{ord(error.object[error.start]):04X}"
        raise _refused(f"{where} holds {half}, half of a surrogate pair, which is not Unicode") from error
    except RecursionError as error:
        raise _refused(f"{where} is nested deeper than {_MAX_DEPTH} levels") from error
    except ValueError as error:
        raise _refused(f"{where} cannot be read: {error}") from error
    if _deeper(content, _MAX_DEPTH):
        raise _refused(f"{where} is nested deeper than {_MAX_DEPTH} levels")
    return content


def _deeper(value: object, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels <= 0 or any(_deeper(item, levels - 1) for item in inner if isinstance(item, dict | list))


def _refused(message: str) -> InputRefused:
    return InputRefused([Problem("json", message)])
