"""Read records from JSON Lines, JSON and CSV files. Knows nothing about what the fields mean."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dami_merge.errors import InputRefused, Problem
from dami_merge.files import is_special

_HINT = "pass JSON Lines, a JSON list, BIG-Bench Hard's JSON, or CSV with a header"


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of a file.

    Attributes:
        place: Position in the file, for messages: `line 3`.
        fields: Values by field name.
    """

    place: str
    fields: Mapping[str, object]


def read_records(path: Path) -> tuple[list[Record], list[Problem]]:
    """Read a whole UTF-8 file.

    `.csv` files are read as CSV. Any other file is read as one JSON document if it parses as one (a list, or
    an object with `examples`), and otherwise as JSON Lines, where empty lines are skipped.

    Returns:
        The records in file order, and one problem for each entry that is not an object.

    Raises:
        InputRefused: The file cannot be read, or has none of these formats.
    """
    if path.suffix in {".gz", ".zst", ".zip", ".parquet", ".arrow", ".xlsx"}:
        raise _refused(f"{path}: {path.suffix} files are unsupported")
    try:
        if is_special(path):
            raise _refused(f"{path} is not a regular file")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _refused(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise _refused(
            f"{path} is not valid UTF-8", "convert it, for example with `iconv -t UTF-8`"
        ) from error
    except ValueError as error:  # a NUL in the name
        raise _refused(f"{str(path)!a}: {error}") from error
    entries = list(_csv(path, text) if path.suffix == ".csv" else _json(path, text))
    records = [Record(place, fields) for place, fields in entries if isinstance(fields, dict)]
    problems = [
        Problem("question", f"{path}, {place}: {what}")
        for place, what in entries
        if not isinstance(what, dict)
    ]
    return records, problems


def _csv(path: Path, text: str) -> Iterator[tuple[str, dict[str, object] | str]]:
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in rows:
            place = f"line {rows.line_num}"
            if None in row:
                yield place, f"more cells than the {len(rows.fieldnames or ())} of the header"
            else:
                yield place, dict(row)
    except csv.Error as error:
        raise _refused(f"{path}, line {rows.line_num}: {error}") from error


def _json(path: Path, text: str) -> Iterator[tuple[str, dict[str, object] | str]]:
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise _refused(f"{path} is nested too deeply") from error
    except ValueError as error:
        if path.suffix == ".json" and "\n{" not in text.strip():
            raise _refused(f"{path}: {error}") from error
        yield from _json_lines(text)
        return
    entries, unit = (document, "entry") if isinstance(document, list) else ([document], "line")
    if isinstance(document, dict) and isinstance(document.get("examples"), list):
        entries, unit = document["examples"], "example"
    for number, entry in enumerate(entries, 1):
        yield f"{unit} {number}", entry if isinstance(entry, dict) else "not a JSON object"


def _json_lines(text: str) -> Iterator[tuple[str, dict[str, object] | str]]:
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would split a string at U+2028
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            yield f"line {number}", f"invalid JSON: {error}"
            continue
        except RecursionError:
            yield f"line {number}", "nested too deeply"
            continue
        yield f"line {number}", entry if isinstance(entry, dict) else "not a JSON object"


def _refused(message: str, hint: str = _HINT) -> InputRefused:
    return InputRefused([Problem("questions", message, hint)])
