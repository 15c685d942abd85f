r"""Rewrite one answer in the LaTeX that the other modules of this room expect. Knows no mathematics.

Unicode signs, digits of other scripts, full-width letters, superscripts and vulgar fractions become LaTeX or
ASCII. LaTeX for spaces, sizes and bold type is dropped. math-verify itself reads `1.2e3` as 1.2 times e times
3 and `1\,000` as 1 times 0, and does not know `°`, `∞` or `π`.
"""

import re
import unicodedata

_SIGNS = {
    "−": "-",
    "–": "-",
    "°": r"^\circ",
    "∞": r"\infty ",
    "π": r"\pi ",
    "×": r"\times ",
    "·": r"\cdot ",
    "÷": "/",
    "⁄": "/",
    "≤": r"\le ",
    "≥": r"\ge ",
    "≠": r"\ne ",
    "≈": r"\approx ",
    "±": r"\pm ",
    "√": r"\sqrt",
    "∛": r"\sqrt[3]",
    "∪": r"\cup ",
    "∈": r"\in ",
    "∅": r"\emptyset ",
    "。": ".",
    "、": ",",
    "\u200b": "",
    "\ufeff": "",
}
_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ", "0123456789+-ni", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_RUNS = re.compile(f"[{''.join(_SUPERSCRIPTS)}]+|[{''.join(_SUBSCRIPTS)}]+")
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}

_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3})((?:(?:,\\! ?|\\[,!; ]|\{,\}|_(?=\d{3})|'| )\d{3})+)(?![\d])")
_COMMAS = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+)(?![\d,]*\d)")
_SCIENTIFIC = re.compile(r"(?<![\w.])([+-]?(?:\d+(?:\.\d+)?|\.\d+))[eE]([+-]?\d+)(?![\w.])")
_TIMES_TEN = re.compile(r"(?<=\d)\s*(?:[x*]|\\cdot)\s*10\s*(?=\^)")
_MIXED = re.compile(r"(?<![\d./^_{\w])(\d+)(?:\s+|\s*\+\s*(?=\d+/\d+\s*\Z))(\d+)\s*/\s*(\d+)(?![\d/])")
_PI = re.compile(r"(?<![A-Za-z\\])pi(?![A-Za-z])")
_ROOT = re.compile(r"(?<![A-Za-z\\])sqrt(?=[({])|\\sqrt(?=\()")
_ROOT_SIGN = re.compile(r"√\s*(\d+(?:\.\d+)?|[A-Za-z])")
_ROOT_OF = re.compile(r"\\sqrt\(([^()]*)\)")
_FRACTIONS = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits)(?![A-Za-z])\s*\.?")
_BOLD = re.compile(r"\\(?:mathbf|boldsymbol|bm|bf|mathit|mathsf)(?![A-Za-z])")
_SPACES = re.compile(r"(?<!\\)\\(?:[,;: !]|(?:quad|qquad|thinspace)(?![A-Za-z])|(?=\s))|~|\s")
_SPELLED_OUT = {
    r"\leq": r"\le ",
    r"\geq": r"\ge ",
    r"\neq": r"\ne ",
    r"\degree": r"^\circ",
    r"\lbrace": r"\{",
    r"\rbrace": r"\}",
}
_ALIASES = re.compile("|".join(re.escape(name) + "(?![A-Za-z])" for name in _SPELLED_OUT))

_PAIRS = (
    ("$$", "$$"),
    ("$", "$"),
    (r"\(", r"\)"),
    (r"\[", r"\]"),
    ("**", "**"),
    ("`", "`"),
    ('"', '"'),
    ("“", "”"),
    (r"\boxed{", "}"),
)
_ENDS = re.compile(r"(?:(?<!\\)[\s,;:.]|\\ )+\Z")


def spelled(text: str) -> str:
    """Rewrite signs, powers of ten, pi, roots and mixed numbers as LaTeX, and join groups of digits."""
    text = _ROOT_SIGN.sub(r"\\sqrt{\1}", text)
    text = "".join(map(_character, text.translate(_FULL_WIDTH)))
    text = _RUNS.sub(_script, text)
    text = _COMMAS.sub(_joined, text)
    text = _THOUSANDS.sub(lambda match: match[1] + "".join(re.findall(r"\d{3}", match[2])), text)
    text = _FRACTIONS.sub(r"\\frac", _SIZES.sub("", _BOLD.sub("", text)))
    text = _ALIASES.sub(lambda match: _SPELLED_OUT[match[0]], text)
    text = _SPACES.sub(" ", text)
    text = _SCIENTIFIC.sub(r"\1\\times 10^{\2}", text)
    text = _TIMES_TEN.sub(r"\\times 10", text)
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    text = _ROOT_OF.sub(r"\\sqrt{\1}", _ROOT.sub(r"\\sqrt", text))
    return _PI.sub(r"\\pi ", text)


def bare(text: str) -> str:
    r"""Strip dollar signs, brackets of LaTeX, emphasis, quotes and the full stop around an answer.

    Example:
        >>> bare(r"**$42$.**")
        '42'
    """
    before = None
    while text != before:
        before, text = text, _ENDS.sub("", text).strip()
        for left, right in _PAIRS:
            inner = text[len(left) : len(text) - len(right)]
            if text.startswith(left) and text.endswith(right) and inner and left not in inner:
                text = inner
    return text


def _character(character: str) -> str:
    if character.isascii():
        return character
    if character in _SIGNS:
        return _SIGNS[character]
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    if unicodedata.category(character) == "Zs":
        return " "
    parts = unicodedata.normalize("NFKC", character).partition("⁄")
    return rf"\frac{{{parts[0]}}}{{{parts[2]}}}" if parts[1] and parts[2] else character


def _joined(match: re.Match[str]) -> str:
    r"""Join `1,234`; `(100,200)` and `\{100,200\}` have two parts."""
    enclosed = match.string[: match.start()].rstrip().endswith(("(", "[", r"\{"))
    return match[0] if enclosed else match[0].replace(",", "")


def _script(match: re.Match[str]) -> str:
    table, sign = (_SUPERSCRIPTS, "^") if match[0][0] in _SUPERSCRIPTS else (_SUBSCRIPTS, "_")
    return f"{sign}{{{''.join(table[each] for each in match[0])}}}"
