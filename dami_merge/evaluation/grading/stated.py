"""The answer that a text without a box states: after "answer", on the last line, or the last number.

Knows words and formulas, no mathematics. A text that states two answers, denies or doubts one, states none.
"""

import re

SEARCHED_CHARACTERS = 4000
"""Only the end of a longer text is searched."""

_ANSWER = (
    r"(?:(?i:\b(?:answer|antwort|lösung|réponse|respuesta|risposta|resposta|ответ)\b)"
    r"|答案|答え|정답|####|(?<![\w回解])答)"
)
_IS = r"(?i:\b(?:to (?:the|this) (?:question|problem)|is|(?:would|will|must|should) be|ist|est|es|è|é)\b)"
_SAID = re.compile(
    rf"{_ANSWER}[*_]*(?:\s*(?:{_IS}|应该|应|是|为|為|は|은|는|[:=：＝]|[—-](?=\s))){{0,6}}[ \t*_]*"
)
_END = re.compile(
    r"\.(?=[\s*_\"']|\Z)|[。!?！？\n]|,\s+not\b|，|；|;\s"
    r"|[,;，；]?\s(?:because|since|as|which|where|so)\b"
)
_UNSURE = re.compile(
    r"\b(?:or|either|neither|nor|maybe|perhaps|possibly|unsure|wrong|incorrect|impossible|between)\b"
    r"|\b(?:could|might|may)\s+(?:also\s+)?be\b|\b(?:not|never|cannot|can't|isn't|don't|doesn't)\b"
    r"|或|可能|也许|不是|不等于|\?|？",
    re.IGNORECASE,
)
_FACTOR = r"(?:\s?(?:hundred|thousand|million|billion|trillion|dozen|%|\\%|percent|per cent|[百千万亿萬億]))?"
_DIGITS = "\\d+(?:[, \u00a0\u202f]\\d{3})*(?:\\.\\d+)?|\\.\\d+"
_VULGAR = "[¼-¾⅐-⅞]"
_LATEX_NUMBER = r"\d*\s?\\[dt]?frac\s?\{[^{}]*\}\s?\{[^{}]*\}|\d*\\sqrt\{[^{}]*\}|\d*√\d+"
_NUMBER = rf"(?:{_LATEX_NUMBER}|{_VULGAR}|(?:{_DIGITS})(?:\s\d+/\d+|{_VULGAR})?)"
_OPERATION = r"(?:\s?(?:/|\^|×|\*|\\times|\\cdot|\+|(?<=\s)-)\s?\(?[\d.]+\)?){0,20}"
_FORMULA = re.compile(
    r"\$\$(?P<display>[^$]+)\$\$"
    r"|(?<!\\)\$(?P<inline>[^$\n]*[^$\s\d\\][^$\n]*|-?\d[\d,.]*)\$"
    r"|\\\((?P<round>.+?)\\\)|\\\[(?P<square>.+?)\\\]"
    rf"|(?P<plain>(?<![A-Za-z0-9_.,\\{{^])[-−]?(?:\\?[$€£¥])?{_NUMBER}{_OPERATION}{_FACTOR})(?!(?:st|nd|rd|th)\b)",
    re.DOTALL,
)
_LATEX_WORDS = re.compile(r"\\(?:text|mathrm|mbox|textbf|operatorname|begin|end)[a-z]*\{[^{}]*\}")
_WRITTEN = re.compile(r"[0-9A-Za-z\\]|[^\W_]")
_PROSE = re.compile(r"(?<![\\A-Za-z])[^\W\d_]{2,}|(?<!\\)\$")
_DOLLARS = re.compile(r"\$((?:[^$\\]|\\.)+)\$", re.DOTALL)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_LONG_GAP = re.compile(r"(\s)\s{2,}")
_HEDGED_LATEX = re.compile(r"\\text\{\s*or\s*\}")


def stated(text: str) -> str | None:
    """Return the answer that a text without a box settles on; None if there is none, or more than one."""
    text = _LONG_GAP.sub(r"\1 ", text[-SEARCHED_CHARACTERS:]).strip()
    said = list(_SAID.finditer(text))
    for match in reversed(said):
        line = text[match.end() :].strip("*_ \t").lstrip("\n")
        if line.strip():
            return _settled(line)
    last = text.rpartition("\n")[2].strip("*_ ")
    if _only_formula(_undollared(last)):
        return _undollared(last)
    for sentence in reversed(_SENTENCE.split(text)):
        found = [_content(match) for match in _FORMULA.finditer(sentence)]
        if found:
            unsure = _UNSURE.search(_FORMULA.sub("", sentence)) or _HEDGED_LATEX.search(sentence)
            return None if unsure else found[-1]
    return None


def _settled(rest: str) -> str | None:
    """Return the one expression of what follows "answer"."""
    line = rest.partition("\n")[0].strip("*_ \t")
    whole = _undollared(line.rstrip(" .。*_"))
    if _only_formula(whole) and not _UNSURE.search(whole):
        return whole
    formulas = [match.span() for match in _FORMULA.finditer(line)]
    inside = {at for start, end in formulas for at in range(start, end)}
    end = next((m.start() for m in _END.finditer(line) if m.start() not in inside), len(line))
    clause = line[:end].strip("*_ ")
    if _UNSURE.search(_FORMULA.sub("", clause)):
        return None
    found = [_content(match) for match in _FORMULA.finditer(clause)]
    if len(found) > 1:
        return found[-1] if "=" in clause else None
    return found[0] if found else clause or None


def _content(match: re.Match[str]) -> str:
    return next(part for part in match.groups() if part is not None).strip()


def _undollared(text: str) -> str:
    r"""Remove the dollar signs around a formula: `$.35625$` is `.35625`, and `\$36` stays."""
    match = _DOLLARS.fullmatch(text)
    return (match[1] if match else text).strip()


def _only_formula(text: str) -> bool:
    return bool(_WRITTEN.search(text)) and not _PROSE.search(_LATEX_WORDS.sub("", text))
