r"""Whether two answers are equal: by structure, text, unit and exact value, and what is left by math-verify.

Knows nothing about questions, nor about where in a text the answer is. A doubt counts as not equal.
"""

import re
import time
from collections.abc import Callable, Sequence

from dami_merge.evaluation.grading.boxed import plain
from dami_merge.evaluation.grading.moment import moment
from dami_merge.evaluation.grading.numeral import Numeral, numeral, same_number
from dami_merge.evaluation.grading.parts import MOST_PARTS, Parts, compares, parts_of
from dami_merge.evaluation.grading.spelling import bare, spelled
from dami_merge.evaluation.grading.units import quantity

Judge = Callable[[str, str], bool]
"""Compares two expressions by value."""

LONGEST = 4000
"""A longer answer equals only the same text."""

DEPTH = 4
"""A list of lists of lists of lists equals only the same text."""

JUDGED_CHARACTERS = 1000
DEEPEST = 25

_BRACKET = re.compile(r"[(){}\[\]]")
_LEAD = re.compile(
    r"(?:\\text\s*\{)?\s*(?:the\s+)?(?:final\s+)?answer\s*(?:is)?\s*[:=]?\s*\}?\s*(?=\S)|(?:最终)?答案\s*[是为]?\s*:?",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]{2,}(?:[ '’-][^\W\d_]+)*", re.UNICODE)
_TEXT = re.compile(r"\\(?:text\w*|mathrm|mbox)\s*\{")
_ARTICLE = re.compile(r"\A(?:the|an?)\s+")
_LETTER = re.compile(r"\(([A-Z])\)|\\(?:text\w*|mathrm|mbox)\s*\{\s*\(?([A-Z])\)?\s*\}")
_BASE = re.compile(
    r"\(?\s*([0-9A-F]+)\s*\)?\s*_\s*(?:\{\s*(?:\\text\w*\s*\{)?\s*(\w+)\s*\}?\s*\}|(\d+)|\(\s*(\d+)\s*\))"
)
_BASES = {
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
    "twelve": "12",
    "sixteen": "16",
}
_EQUALS = re.compile(r"(?<![<>!\\:])=(?!=)")
_SYMBOL = re.compile(
    r"\s*(?:\\?[A-Za-z]+(?:_\{?\w+\}?)?(?:\([A-Za-z, ]*\))?|\\text\w*\s*\{[^{}]*\}|\\angle\s*[A-Z]+)\s*"
)
_NEAR = re.compile(r"\\(?:approx|sim|simeq)(?![A-Za-z])|(?:about|approximately|roughly|circa)(?![A-Za-z])")
_GAP = re.compile(r"(?<!\\frac)(?<!\\frac )\d\s+\.?\d")
_SPACE = re.compile(r"(?<!\d)\s+|\s+(?!\d)")
_PERCENT = re.compile(
    r"\s*(?:\\?%|\\text\s*\{\s*(?:\\?%|per\s?cent)\s*\}|per\s?cent(?:age)?)\s*\Z", re.IGNORECASE
)
_DOUBT = re.compile(
    r"\?|\bnot\b|\bn't\b|\bnever\b|\bmaybe\b|\bperhaps\b|\beither\b|\bbetween\b", re.IGNORECASE
)


class Equality:
    """Compares answers with a correct one; math-verify sees what structure and exact numbers leave open."""

    def __init__(self, judge: Judge, *, limit_s: float) -> None:
        """Create it.

        Args:
            judge: Compares two expressions of mathematics by value.
            limit_s: Seconds for one answer, however many parts it has; beyond that it is wrong.
        """
        self._judge = judge
        self._limit_s = limit_s

    def equal(self, gold: str, answer: str) -> bool:
        """Compare an answer with the correct one; the order of the arguments matters."""
        if len(answer) > LONGEST:
            return answer == gold
        right, found = bare(spelled(bare(gold))), _without_lead(bare(spelled(bare(answer))))
        if not found or not right:
            return False
        return self._forms(right, found, time.monotonic() + self._limit_s, depth=0)

    def _forms(self, gold: str, answer: str, until_s: float, *, depth: int) -> bool:
        if _compact(gold) == _compact(answer):
            return True
        decided = _by_text(gold, answer)
        if decided is not None or depth > DEPTH or time.monotonic() > until_s:
            return bool(decided)
        return self._parts(*_alike(parts_of(gold), parts_of(answer)), until_s, depth=depth)

    def _parts(self, wanted: Parts, given: Parts, until_s: float, *, depth: int) -> bool:
        size = len(wanted.parts)
        if wanted.brackets != given.brackets or len(given.parts) != size or size > MOST_PARTS:
            return False
        if wanted.name and given.name and wanted.name != given.name:
            return False
        if size == 1:
            return self._value(wanted.parts[0], given.parts[0])

        def same(one: str, other: str) -> bool:
            return self._forms(one, other, until_s, depth=depth + 1)

        if wanted.ordered or _names(wanted) != _names(given):
            return all(map(same, wanted.parts, given.parts))
        return _paired(wanted.parts, list(given.parts), same)

    def _value(self, gold: str, answer: str) -> bool:
        """Compare two single values."""
        gold, answer = _one_side(gold, answer)
        wanted, given = quantity(_PERCENT.sub("", gold)), quantity(_PERCENT.sub("", answer))
        if compares(gold) != compares(answer) or (wanted.unit and given.unit and wanted.unit != given.unit):
            return False
        shares = bool(_PERCENT.search(gold)), bool(_PERCENT.search(answer))
        right, found = bare(wanted.value), bare(given.value)
        one, other = numeral(right), numeral(found)
        if one is not None and other is not None:
            return _same_share(one, other, shares)
        return shares[0] == shares[1] and self._expressions(right, found)

    def _expressions(self, gold: str, answer: str) -> bool:
        """Compare what has neither a unit nor, on both sides, a plain number."""
        wanted, given = _based(gold), _based(answer)
        if wanted is not None:  # the question named the base: its digits alone are enough
            return wanted == given or wanted[0] == answer.strip().upper().lstrip("0")
        if given is not None or _misread(gold) != _misread(answer):
            return False
        same = [_compact(each) for each in (gold, answer)]
        if same[0].casefold() == same[1].casefold():
            return same[0] == same[1]  # math-verify takes X for x
        return _parsable(gold) and _parsable(answer) and self._judge(gold, answer)


def _paired(wanted: Sequence[str], given: list[str], same: Callable[[str, str], bool]) -> bool:
    """Return whether each part of one list has a part of its own in the other."""
    for part in wanted:
        at = next((n for n, other in enumerate(given) if same(part, other)), None)
        if at is None:
            return False
        given.pop(at)
    return True


def _without_lead(text: str) -> str:
    return bare(_LEAD.sub("", text, count=1)) if _LEAD.match(text) else text


def _compact(text: str) -> str:
    return _SPACE.sub("", plain(text))


def _by_text(gold: str, answer: str) -> bool | None:
    """Compare words, letters of choices, dates and times; None if the answers are none of these."""
    if _DOUBT.search(plain(answer)) and not _DOUBT.search(plain(gold)):
        return False
    if letter := _LETTER.fullmatch(gold):
        return re.sub(r"[().\s]", "", plain(answer)).upper() == (letter[1] or letter[2])
    moments = moment(plain(gold)), moment(plain(answer))
    if any(moments):
        return moments[0] == moments[1]
    words = [_word(text) for text in (gold, answer)]
    if words[0] is not None and (len(words[0]) > 2 or words[0] == "no" or _TEXT.search(gold)):
        return words[0] == words[1]
    return None


def _word(text: str) -> str | None:
    """Return a text of words only, in one spelling; None for anything else."""
    words = bare(plain(text))
    return _ARTICLE.sub("", words.casefold()) if _WORD.fullmatch(words) and "\\" not in words else None


def _alike(wanted: Parts, given: Parts) -> tuple[Parts, Parts]:
    r"""Give both sides one form where two mean the same: `\{1,2\}` is `1,2`, and `x<1 or x>2` is a union."""
    forms = [wanted, given]
    for n in (0, 1):
        one, other = forms[n], forms[1 - n]
        if one.brackets == "{}" and other.brackets == "":
            forms[n] = Parts("", one.parts)
        if one.brackets == "∪" and other.brackets == "" and all(parts_of(part).name for part in other.parts):
            forms[1 - n] = Parts("∪", other.parts)
    return forms[0], forms[1]


def _names(listed: Parts) -> set[str]:
    """Return the names in `x=1, y=2` if there are several; `x=1, x=2` needs none."""
    sides = [_EQUALS.split(part) for part in listed.parts]
    names = {each[0].strip() for each in sides if len(each) > 1}
    return names if len(names) > 1 else set()


def _one_side(gold: str, answer: str) -> tuple[str, str]:
    r"""Take the value of `x=5`, of `2+3=5` and of `\pi \approx 3.14`, unless both have a name."""
    exact, *near = _NEAR.split(answer)
    if near and not _NEAR.search(gold):
        kept = exact if exact.strip() else near[-1]
        number = numeral(bare(gold))
        rounded = number is not None and bool(number.places)
        if exact.strip() or rounded:
            answer = near[-1] if rounded else kept
    sides = _EQUALS.split(gold), _EQUALS.split(answer)
    if len(sides[0]) == 1 and len(sides[1]) > 1:
        return gold, bare(sides[1][-1])
    if len(sides[1]) == 1 and len(sides[0]) > 1 and _SYMBOL.fullmatch(sides[0][0]):
        return bare(sides[0][-1]), answer
    return gold, answer


def _same_share(gold: Numeral, answer: Numeral, shares: tuple[bool, bool]) -> bool:
    """Compare numbers of which one may be a percentage: 50% is 0.5, and 50 where that cannot be a share."""
    if shares[0] == shares[1]:
        return same_number(gold, answer)
    percentage, number = (gold, answer) if shares[0] else (answer, gold)
    as_share = Numeral(percentage.value / 100, None if percentage.places is None else percentage.places + 2)
    return same_number(as_share, number) or (abs(number.value) > 1 and same_number(percentage, number))


def _based(text: str) -> tuple[str, str] | None:
    match = _BASE.fullmatch(text.strip())
    if match is None:
        return None
    base = match[2] or match[3] or match[4]
    return match[1].upper().lstrip("0"), _BASES.get(base.lower(), base)


def _parsable(text: str) -> bool:
    """Return whether math-verify may see a text: it takes seconds for long, deep or unbalanced ones."""
    depth = deepest = 0
    for match in _BRACKET.finditer(text):
        depth += 1 if match[0] in "({[" else -1
        deepest = max(deepest, depth)
    return len(text) <= JUDGED_CHARACTERS and deepest <= DEEPEST and text.count("{") == text.count("}")


def _misread(text: str) -> tuple[int, int, bool]:
    """Count what math-verify ignores: primes, ratios, and spaces between digits."""
    return text.count("'") + text.count(r"\prime"), text.count(":"), bool(_GAP.search(text))
