"""Text from outside, made harmless where it is shown: on terminals and in spreadsheets.

Names of tensors, chat templates, questions and answers come from files that somebody else wrote. A terminal
obeys the control characters in them, and a spreadsheet runs a cell that looks like a formula.
"""

import re

_CONTROL = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1: ESC and CSI begin sequences
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi marks, overrides and isolates reorder what is read
    "\u2028\u2029"  # line and paragraph separators
    "\ud800-\udfff"  # lone surrogates, which no encoding can write
    "]"
)

_SURROGATE = re.compile("[\ud800-\udfff]")
_FORMULA = re.compile(r"[\t\r\n ]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def visible(text: str) -> str:
    r"""Escape control characters as JSON does, so that they are seen and not obeyed; tab and newline stay.

    In a JSON document, where such a character can only stand in a string, the escape means the same value.

    Example:
        >>> print(visible("\x1b[31mred\x1b[0m"))
        \u001b[31mred\u001b[0m
    """
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def without_surrogates(text: str) -> str:
    r"""Replace lone surrogates, which no encoding can write, by U+FFFD, as a decoder does with invalid bytes.

    Example:
        >>> without_surrogates("half \ud83d") == "half \ufffd"
        True
    """
    return _SURROGATE.sub("\ufffd", text)


def csv_cell(text: str) -> str:
    """Return a text for a CSV file that a terminal may print and a spreadsheet may open.

    Control characters are escaped as by `visible`. An apostrophe goes before a text that begins like a
    formula (`=`, `+`, `-`, `@`, their full-width forms, a tab or a line break) and is not a number:
    spreadsheets then show the text. Programs that need the exact text read the JSON files instead.

    Example:
        >>> csv_cell("=cmd|'/c calc'!A1"), csv_cell("-5"), csv_cell("3 - 2")
        ("'=cmd|'/c calc'!A1", '-5', '3 - 2')
    """
    shown = visible(text)
    return f"'{shown}" if _FORMULA.match(shown) and not _NUMBER.fullmatch(shown) else shown
