r"""The structure of an answer: a list, set, tuple, interval, union, or a single value. Knows no values."""

import re
from dataclasses import dataclass

_TOKEN = re.compile(r"\\[{}]|\\[A-Za-z]+|\\.|[\s\S]")
_OPEN = {"(": ")", "[": "]", "{": "}", r"\{": r"\}", r"\langle": r"\rangle"}
_CLOSE = frozenset(_OPEN.values())
_AND = re.compile(
    r"\\text(?:rm)?\s*\{\s*,?\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|或|和|以及"
)
_MEMBER = re.compile(r"\A\s*\$?\s*[A-Za-z]\w?\s*\\in(?![A-Za-z])")
_NAMED = re.compile(r"\s*(?:[A-Za-z]\w?|\([A-Za-z]\w?(?:\s*,\s*[A-Za-z]\w?)*\))\s*=\s*(?=[(\[]|\\\{)")
_BELOW = re.compile(r"\\le(?![A-Za-z])|<=|<|\\lt(?![A-Za-z])")
_ABOVE = re.compile(r"\\ge(?![A-Za-z])|>=|>|\\gt(?![A-Za-z])")
_NAME = re.compile(r"\s*\\?[A-Za-z]+(?:_\{?\w+\}?)?(?:\([a-z]\))?\s*")

MOST_PARTS = 64
"""A list with more parts equals only the same text."""

MOST_BRACKETS = 8


@dataclass(frozen=True, slots=True)
class Parts:
    """An answer in parts.

    Attributes:
        brackets: The brackets around the parts, `()`, `(]` or `{}`; empty for a list and for a single value;
            `∪` for a union.
        parts: The parts as they were written; at least one.
        name: The variable of an inequality that was read as an interval; empty if there is none.
    """

    brackets: str
    parts: tuple[str, ...]
    name: str = ""

    @property
    def ordered(self) -> bool:
        """Whether the order of the parts counts."""
        return self.brackets not in {"", "{}", "∪"}


def parts_of(text: str) -> Parts:
    r"""Split an answer at the commas and unions that no bracket encloses.

    Example:
        >>> parts_of(r"(2, 3]"), parts_of(r"1 \pm x").parts
        (Parts(brackets='(]', parts=('2', '3'), name=''), ('1 + x', '1 - x'))
    """
    text = _unwrapped(_MEMBER.sub("", text, count=1).strip())
    parts = _split(text, r"\cup")
    if len(parts) > 1:
        return Parts("∪", parts)
    listed = _split(_AND.sub(" , ", text), ",", ";")
    if len(listed) > 1:
        return Parts("", tuple(sign for part in listed for sign in _signs(part)))
    if named := _NAMED.match(text):
        value = parts_of(text[named.end() :])
        return value if value.brackets else Parts("", _signs(text))
    left, right = _around(text)
    if left:
        inner = text[len(left) : len(text) - len(right)].strip()
        parts = _split(inner, ",", ";")
        if left == r"\{":
            return Parts("{}", tuple(sign for part in parts for sign in _signs(part)))
        if len(parts) > 1:
            return Parts(left + right, parts)
    return _interval(text) or Parts("", _signs(text))


def compares(text: str) -> bool:
    """Return whether a text states an inequality, or that something is not equal or only near."""
    return bool(
        _BELOW.search(text) or _ABOVE.search(text) or re.search(r"\\(?:ne|approx|sim)(?![A-Za-z])|!=", text)
    )


def _split(text: str, *separators: str) -> tuple[str, ...]:
    """Split where no bracket is open; empty parts at the ends are dropped."""
    parts, depth, start, at = [], 0, 0, 0
    for match in _TOKEN.finditer(text):
        token, at = match[0], match.end()
        if token in _OPEN:
            depth += 1
        elif token in _CLOSE:
            depth -= 1
        elif token in separators and depth == 0:
            parts.append(text[start : match.start()])
            start = at
    parts.append(text[start:])
    return tuple(part.strip() for part in parts if part.strip(" $")) or (text,)


def _around(text: str) -> tuple[str, str]:
    """Return the brackets that enclose a whole text, also those of `(2,3]`; empty if there are none."""
    depth, tokens = 0, list(_TOKEN.finditer(text))
    if len(tokens) < 2 or tokens[0][0] not in _OPEN:
        return "", ""
    for match in tokens:
        depth += (match[0] in _OPEN) - (match[0] in _CLOSE)
        if depth == 0:
            return (tokens[0][0], match[0]) if match.end() == len(text) else ("", "")
    return "", ""


def _signs(part: str) -> tuple[str, ...]:
    if part.count(r"\pm") != 1:
        return (part,)
    before, _, after = part.partition(r"\pm")
    plus = "" if not before.strip() or before.rstrip().endswith("=") else "+"
    return f"{before}{plus}{after}".strip(), f"{before}-{after}".strip()


def _unwrapped(text: str) -> str:
    """Remove brackets around a single value; only so many, since a model in a loop may write thousands."""
    for _ in range(MOST_BRACKETS):
        left, right = _around(text)
        inner = text[len(left) : len(text) - len(right)].strip()
        if left + right not in {"()", "{}"} or len(_split(inner, ",", ";")) > 1 or not inner:
            break
        text = inner
    return text


def _interval(text: str) -> Parts | None:
    r"""Read `2 \le x < 3` and `x > 5` as intervals."""
    below, above = list(_BELOW.finditer(text)), list(_ABOVE.finditer(text))
    signs = below or above
    if (below and above) or len(signs) not in {1, 2}:
        return None
    cuts = [0, *(edge for sign in signs for edge in sign.span()), len(text)]
    members = [text[start:end].strip() for start, end in zip(cuts[::2], cuts[1::2], strict=True)]
    closed = ["e" in sign[0] or "=" in sign[0] for sign in signs]
    if above:
        members, closed = members[::-1], closed[::-1]
    left, right = "[" if closed[0] else "(", "]" if closed[-1] else ")"
    if len(members) == 3 and _NAME.fullmatch(members[1]):
        return Parts(left + right, (members[0], members[2]), members[1])
    if len(members) == 2 and _NAME.fullmatch(members[0]):
        return Parts(f"({right}", (r"-\infty", members[1]), members[0])
    if len(members) == 2 and _NAME.fullmatch(members[1]):
        return Parts(f"{left})", (members[0], r"\infty"), members[1])
    return None
