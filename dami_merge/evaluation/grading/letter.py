r"""The letter that an answer to a multiple-choice question settles on. Knows no questions.

Statements are read in order: "the answer is B", "B is right", "A is wrong", "it could be C". The last that is
not a denial decides. If it names several letters, or doubts, the text settles on none.
"""

import re
from dataclasses import dataclass

from dami_merge.evaluation.grading.boxed import last_boxed, plain

SEARCHED_END = 20_000
"""Only so many characters at the end of a longer text are searched."""


def _any(*words: str) -> str:
    return f"(?:{'|'.join(words)})"


_MARKS = r"[\s*_$\"'`“”（]{0,9}"
_GOES_ON = r"because|since|as|and|or|for|which|is|was|by|with|if|but|not|in this case"
_BARE = _any(  # "A cat" and "I think" are no letters
    r"[B-HJ-Z](?![A-Za-z0-9_'’])", rf"[AI](?![A-Za-z0-9_'’]|[ *_]+(?!(?:{_GOES_ON})\b)[a-z])"
)
_LETTER = rf"(?:\\(?:text|textbf|mathrm|mathbf)\{{\s*)?(?:[(（]\s*[A-Za-z]\s*[)）]|{_BARE})\}}?"
_JOIN = (
    r"[*_\s$)]*"
    + _any(",", "/", "、", "，", "&", r"\b(?:or|and|nor|oder|ou|o|y)\b", "或者?", "和", "또는")
    + r"(?:\s*(?:or|and|maybe|perhaps|possibly|also|either)\b){0,3}(?:\s*(?:option|choice)\b)?"
)
_GROUP = rf"(?P<group>{_MARKS}{_LETTER}(?:{_JOIN}{_MARKS}{_LETTER}){{0,9}})"
_OPTION = r"(?:\s+(?:the\s+)?(?:option|choice))?"

_NOT = r"\b(?:not|never|nor|neither|eliminate|exclude|reject|rule out|discard)"
_CALLED = _any(
    r"(?i:\b(?:answers?|options?|choices?|choose|chose|pick|select|go with|letter)\b)",
    r"(?i:\b(?:antwort|lösung|réponse|respuesta|risposta|resposta|opción|opzione|ответ|вариант)\b)",
    "答案|选项|选择|应选|故选|选|選|正解|答え|정답|답",
    r"(?<!\w)答",
)
_VERB = _any(
    r"\s+(?:is|are|was|(?:would|must|should) be|(?:has|appears|seems) to be|ist|est|es|è|é)\b",
    r"\s*(?:应该|应|是|为|為|は|은|는|이|가|[—:=：-])",
)
_ADVERB = (
    r"\s*(?:therefore|thus|clearly|indeed|definitely|hence|simply|probably|(?:most )?likely|either|only)\b,?"
)
_NAMED = re.compile(
    rf"(?P<no>(?:{_NOT}|n['’]t|不|别|非)\s*(?:the\s+)?)?{_CALLED}[*_]{{0,3}}(?:{_VERB}){{0,4}}(?:{_ADVERB}){{0,3}}"
    r"(?:\s*(?:the|option|choice|letter|answer|选项)\b){0,3}\s*[:：=]?"
    rf"(?P<not>\s*(?:not|n['’]t|不是)(?![A-Za-z]))?{_GROUP}"
)
_RIGHT = (
    r"(?:is|are|must be|has to be|being)\s+(?:(?:clearly|therefore|indeed|definitely|both|obviously)\s+){0,3}"
    r"(?:the\s+)?(?:only|right|correct|true|best|answer|valid)\b"
)
_WRONG = _any(
    r"(?:is|are|was|were)\s+(?:(?:clearly|therefore|also|both|obviously|definitely)\s+){0,3}"
    r"(?:wrong|incorrect|false|not|too|out|excluded|eliminated|ruled|impossible|absurd|invalid)\b",
    r"(?:is|are|does|do|did|can|could|would|has)n['’]t|(?:does|do|did|can|could|would)\s*not|cannot|fails?\b",
    "错|不对|不正确|是错|不成立",
)
_JUDGED = re.compile(
    rf"{_GROUP}[)）*_.\s]*(?:选项|項)?,?[ ]?"
    rf"(?:(?P<no>{_WRONG})|{_RIGHT}|fits\b|works\b|正确|是正确|是对的|对)"
)
_DOUBTED = re.compile(
    _any(
        r"(?i:\b(?:could|might|may)(?:\s+(?:also|well))?\s+be|\b(?:maybe|perhaps|possibly|either|between))",
        "可能是?|也许是?|或许是?",
    )
    + _OPTION
    + _GROUP
)
_DENIED = re.compile(rf"(?i:{_NOT}\b){_OPTION}{_GROUP}")
_IN_BRACKETS = re.compile(rf"(?<![\w\\])[(（][A-Z][)）](?:{_JOIN}{_MARKS}[(（][A-Z][)）]){{0,9}}")
_ALONE = re.compile(
    r"(?:^|(?<=[\s*_\"'`]))[A-HJ-Z](?:[*_\"'`]*\s*(?:,|/|\bor\b|\band\b)\s*[*_\"'`]*[A-HJ-Z](?![\w'’])){0,9}"
    r"(?=[*_\"'`]*(?:[.):,;!。]|\s*$))",
    re.MULTILINE,
)
_BOX = re.compile(r"\(?\s*([A-Za-z])\s*(?:\Z|[).:,]|(?=\s))(.*)", re.DOTALL)
_SEVERAL = re.compile(r"[A-H](?:\s*(?:[,/&;]|or|and|或|和)?\s*[A-H])+")
_HEDGE = re.compile(r"(?:not|neither|either|both|none|maybe|perhaps)\b", re.IGNORECASE)
_ONLY = re.compile(r"[\s*_$\"'`]*\(?([A-Za-z])\)?[\s.:*_$\"'`]*")
_ONE = re.compile(r"(?<![A-Za-z])([A-Za-z])(?![A-Za-z'’])")
_OTHER_IN_BOX = re.compile(r"\s*(?:,|/|&|;|\bor\b|\band\b|或|和)?\s*\(?([A-Z])\)?(?:\W|\Z)")
_LONG_GAP = re.compile(r"(\s)\s{2,}")


@dataclass(frozen=True, slots=True)
class _Statement:
    """What one statement says: the letters, and whether they are denied or doubted."""

    at: int
    letters: frozenset[str]
    denied: bool = False
    doubted: bool = False

    @property
    def letter(self) -> str | None:
        """The one letter that is stated; None if it is denied or doubted, or if there are several."""
        certain = len(self.letters) == 1 and not self.denied and not self.doubted
        return next(iter(self.letters)) if certain else None


def letter(text: str) -> str | None:
    """Return the capital letter that a text settles on; None if it settles on none, or names several."""
    boxed = last_boxed(text)
    if boxed.cut:
        return None
    text = _LONG_GAP.sub(r"\1 ", text[-SEARCHED_END:])
    if boxed.content is not None:
        found, decides = _in_box(plain(boxed.content))
        if decides:
            return found
    statements = _statements(text)
    for statement in reversed(statements):
        if not statement.denied:
            return statement.letter
    if match := _ONLY.fullmatch(text):
        return match[1].upper()
    denied = frozenset(each for statement in statements for each in statement.letters)
    for pattern in (_IN_BRACKETS, _ALONE):
        groups = [_letters(match[0]) for match in pattern.finditer(text)]
        left = [group for group in groups if not group <= denied]
        if left:
            return next(iter(left[-1])) if len(left[-1]) == 1 else None
    return None


def _in_box(words: str) -> tuple[str | None, bool]:
    """Return the letter of a box, and whether the box decides; one without a letter leaves it to the text."""
    if len(words) > SEARCHED_END:
        return None, True
    match = _BOX.fullmatch(words)
    if match is not None and not (match[1] in "aAiI" and re.match(r"\s+[a-z]", match[2])):
        other = _OTHER_IN_BOX.match(match[2])
        return (None if other is not None and other[1] != match[1] else match[1].upper()), True
    statements = _statements(words)
    if statements and not _SEVERAL.fullmatch(words):
        return statements[-1].letter, True
    return None, bool(_SEVERAL.fullmatch(words) or _HEDGE.match(words))


def _statements(text: str) -> list[_Statement]:
    found = [_statement(match, denied=bool(match["no"] or match["not"])) for match in _NAMED.finditer(text)]
    found += [_statement(match, denied=match["no"] is not None) for match in _JUDGED.finditer(text)]
    found += [_statement(match, denied=True) for match in _DENIED.finditer(text)]
    found += [_statement(match, doubted=True) for match in _DOUBTED.finditer(text)]
    return _merged(found)


def _statement(match: re.Match[str], *, denied: bool = False, doubted: bool = False) -> _Statement:
    first = _ONE.search(match["group"])
    at = match.start("group") + (first.start() if first else 0)
    return _Statement(at, _letters(match["group"]), denied, doubted)


def _merged(found: list[_Statement]) -> list[_Statement]:
    """Make one statement of two about one place: "option C" in "option C does not fit" is denied."""
    places: dict[int, _Statement] = {}
    for each in found:
        known = places.get(each.at, each)
        letters, denied = known.letters | each.letters, known.denied or each.denied
        places[each.at] = _Statement(each.at, letters, denied, known.doubted or each.doubted)
    return [places[at] for at in sorted(places)]


def _letters(group: str) -> frozenset[str]:
    words = re.sub(r"\\[a-z]+", " ", group)
    return frozenset(match[1].upper() for match in _ONE.finditer(words))
