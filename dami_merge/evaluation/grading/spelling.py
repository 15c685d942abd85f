r"""Rewrite numbers and signs that math-verify misreads.

math-verify reads `1.2e3` as 1.2 times e times 3 and `1\,000` as 1 times 0, and does not know `°`, `∞` or `π`.
"""

import re

_SIGNS = {
    "−": "-",
    "°": r"^\circ",
    "∞": r"\infty ",
    "π": r"\pi ",
    "×": r"\times ",
    "·": r"\cdot ",
    "÷": "/",
    "≤": r"\le ",
    "≥": r"\ge ",
    "±": r"\pm ",
    "√": r"\sqrt",
    "∪": r"\cup ",
    "\u00a0": " ",
    "\u202f": " ",
    "\u2009": " ",
}
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3})((?:(?:\\[,!; ]|\{,\}|,\\!| )\d{3})+)(?![\d])")
_SCIENTIFIC = re.compile(r"(?<![\w.])([+-]?\d+(?:\.\d+)?)[eE]([+-]?\d+)(?![\w.])")
_PI = re.compile(r"(?<![A-Za-z\\])pi(?![A-Za-z])")
_ROOT = re.compile(r"(?<![A-Za-z\\])sqrt\(([^()]*)\)")


def spelled(text: str) -> str:
    """Rewrite signs, powers of ten, pi and roots as LaTeX, and join groups of digits."""
    for sign, latex in _SIGNS.items():
        text = text.replace(sign, latex)
    text = _THOUSANDS.sub(lambda match: match[1] + "".join(re.findall(r"\d{3}", match[2])), text)
    text = _SCIENTIFIC.sub(r"\1\\times 10^{\2}", text)
    text = _ROOT.sub(r"\\sqrt{\1}", text)
    return _PI.sub(r"\\pi ", text)
