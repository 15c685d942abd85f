r"""Split an answer into its value and its unit: `5\text{ cm}`, `$10`, `60 km/h`, `3元`, `2 million eggs`.

A unit on one side only does not count. Two units must be the same: 5 cm is not 5 m, and nothing is converted.
"""

import re
from dataclasses import dataclass

from dami_merge.evaluation.grading.numeral import numeral

_NAMES = {
    "meter": "m metre", "centimeter": "cm centimetre", "millimeter": "mm millimetre",
    "kilometer": "km kms kilometre", "inch": "in inches", "foot": "ft feet", "yard": "yd yds",
    "mile": "mi", "gram": "g gm", "kilogram": "kg kgs kilo", "milligram": "mg", "pound": "lb lbs £ gbp",
    "ounce": "oz", "ton": "tonne 吨", "second": "s sec secs 秒", "minute": "min mins 分钟",
    "hour": "h hr hrs 小时 時間 시간", "day": "天 日", "week": "wk wks", "month": "个月",
    "year": "yr yrs years-old year-old 年 岁 歳 years-of-age 살", "dollar": "$ usd us$ bucks buck 美元 a$ c$",
    "cent": "¢ ¢s", "euro": "€ eur 欧元", "yuan": "元 rmb cny 人民币 块 ¥ 元钱 块钱", "yen": "jpy 円",
    "rupee": "₹ inr rs", "won": "₩ krw 원", "ruble": "₽ rub rouble рублей рубля", "franc": "chf",
    "peso": "mxn", "mile/hour": "mph", "kilometer/hour": "kph kmh kmph", "liter": "l litre 升",
    "milliliter": "ml millilitre 毫升", "gallon": "gal gals", "cup": "", "pint": "", "quart": "",
    "acre": "", "hectare": "ha", "degree": r"deg ^\circ",
    "celsius": r"^\circc degree-celsius degrees-celsius",
    "fahrenheit": r"^\circf degree-fahrenheit degrees-fahrenheit", "kelvin": "k", "newton": "n",
    "joule": "j", "watt": "w", "volt": "v", "ampere": "a amp", "hertz": "hz", "pascal": "pa",
    "mole": "mol", "radian": "rad", "unit": "", "meter_cn": "米", "centimeter_cn": "厘米",
    "kilometer_cn": "公里 千米", "gram_cn": "克", "kilogram_cn": "千克 公斤",
    "piece_cn": "个 個 只 条 本 张 枚 棵 辆 件 支 颗 瓶 箱 袋 页 次 种 개 つ", "person_cn": "人 名 명",
}  # fmt: skip
_CANONICAL = {
    alias: name.partition("_")[0] for name, aliases in _NAMES.items() for alias in (name, *aliases.split())
}
_SYMBOLS = frozenset("msghlknjwvLKNJWVA")
_POWERS = {"square": "^2", "sq": "^2", "cubic": "^3", "cu": "^3"}
_AFTER = {"squared": "^2", "cubed": "^3"}
_FACTORS = {
    "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
    "百": 10**2, "千": 10**3, "万": 10**4, "亿": 10**8, "萬": 10**4, "億": 10**8,
}  # fmt: skip
_NOT_UNITS = frozenset({
    "about", "again", "all", "almost", "and", "another", "approximately", "around", "at", "away",
    "below", "between", "both", "but", "by", "cos", "cosh", "cot", "csc", "cubed", "else", "exactly",
    "except", "exp", "factorial", "false", "few", "fewer", "for", "from", "greater", "half",
    "hundredth", "if", "incorrect", "inf", "is", "least", "left", "less", "ln", "log", "lower", "many",
    "max", "maybe", "minus", "mod", "modulo", "more", "most", "neither", "never", "no", "nor", "not",
    "of", "off", "on", "only", "or", "over", "pair", "pairs", "perhaps", "plus", "point", "probably",
    "quarter", "quarters", "remaining", "root", "roughly", "score", "short", "sin", "sinh", "so",
    "some", "somewhat", "sqrt", "squared", "tan", "tanh", "tens", "than", "that", "the", "then",
    "there", "third", "thirds", "through", "thru", "times", "to", "too", "true", "twice", "under",
    "unless", "until", "up", "versus", "vs", "was", "were", "when", "where", "while", "with", "without",
    "wrong", "yes",
})  # fmt: skip
_CURRENCY = re.compile(
    r"([+-]?)\s*(?:(US|A|C)?\\?(\$)|([€£¥₹₽₩])|(?:(USD|EUR|GBP|CNY|RMB|INR|JPY|Rs\.?)(?![A-Za-z])))"
    r"\s*(?=[\d.+\\-])"
)
_BOXES = r"\\(?:text|textrm|mbox|mathrm|rm|operatorname)\s*\{"
_RAISED = r"(?:\s*\^\s*\{?[23]\}?)?"
_IN_TEXT = re.compile(rf"((?:\s?(?:/|\\cdot)?\s?{_BOXES}[^{{}}]*\}}{_RAISED})+)\s*\Z")
_DEGREES = re.compile(r"\^\s?\{?\s?\\circ\s?\}?\s?(?:(?:\\(?:text|mathrm)\s?\{)?\s?([CF])\s?\}?)?\s?\Z")
_WORD_UNIT = rf"[A-Za-z]+\.?{_RAISED}"
_WORDS = re.compile(
    rf"(?<![A-Za-z\\])([A-Za-zµ$€£¢¥₹₽₩]+\.?{_RAISED}(?:(?:\s?/\s?|-|\s){_WORD_UNIT}){{0,4}})\s*\Z"
)
_SCRIPTS = re.compile(r"([\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af\u0400-\u04ff]{1,6})\s*\Z")
_LATEX = re.compile(rf"{_BOXES}([^{{}}]*)\}}|\\cdot")
_SLASHES = re.compile(r"\s*/\s*|\s+per\s+|\s+an?\s+")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value and its unit.

    Attributes:
        value: What is left without the unit, as it was written.
        unit: The unit, in one spelling; empty if there is none.
    """

    value: str
    unit: str = ""


def quantity(text: str) -> Quantity:
    r"""Split off the unit of an answer that `spelling.spelled` rewrote.

    A single letter, and a word that is not in the table, are units only after a plain number and a space:
    `5 m` and `18 eggs`, but `5m`, `2k` and `3x` are expressions.

    Example:
        >>> quantity(r"60 \text{ miles per hour}"), quantity("2 dozen").value
        (Quantity(value='60', unit='mile/hour'), '2*12')
    """
    text = text.strip()
    if match := _CURRENCY.match(text):
        named = next(part for part in match.groups()[2:] if part)
        rest = quantity(match[1] + text[match.end() :])
        unit = _CANONICAL[named.lower().rstrip(".")]
        return rest if rest.unit not in {"", unit} else Quantity(rest.value, unit)
    if match := _DEGREES.search(text):
        return Quantity(text[: match.start()], {"C": "celsius", "F": "fahrenheit"}.get(match[1], "degree"))
    if match := _IN_TEXT.search(text):
        words = " ".join(_LATEX.sub(lambda part: part[1] or " ", match[1]).split())
        return _counted(text, match.start(), words, symbols=True, nouns=True)
    if match := _WORDS.search(text):
        plain = numeral(text[: match.start()]) is not None
        spaced = plain and text[: match.start()].endswith(" ")
        return _counted(text, match.start(), match[1], symbols=spaced, nouns=spaced)
    if match := _SCRIPTS.search(text):
        return _counted(text, match.start(), match[1], symbols=True, nouns=False)
    return Quantity(text)


def _counted(text: str, start: int, words: str, *, symbols: bool, nouns: bool) -> Quantity:
    value = text[:start]
    first, _, others = words.partition(" ")
    factor = _FACTORS.get(first.lower()) or _FACTORS.get(words[:1])
    if factor is not None and numeral(value) is not None:
        rest = others if first.lower() in _FACTORS else words[1:]
        unit = _unit(rest.removeprefix("of "), symbols=True, nouns=True) if rest else ""
        return Quantity(text) if unit is None else Quantity(f"{value.strip()}*{factor}", unit)
    unit = _unit(words, symbols=symbols, nouns=nouns)
    return Quantity(text) if unit is None or not value.strip() else Quantity(value, unit)


def _unit(words: str, *, symbols: bool, nouns: bool) -> str | None:
    """Return one spelling of a unit; None if the words are not a unit."""
    parts = [_one(part, symbols=symbols, nouns=nouns) for part in _SLASHES.split(words)]
    return None if not all(parts) else "/".join(map(str, parts))


def _one(words: str, *, symbols: bool, nouns: bool) -> str | None:
    power = ""
    if match := re.search(r"\s*\^\s*\{?([23])\}?\Z", words):
        power, words = f"^{match[1]}", words[: match.start()]
    first, _, rest = words.strip().partition(" ")
    if first.lower().rstrip(".") in _POWERS and rest:
        power, words = _POWERS[first.lower().rstrip(".")], rest
    rest, _, last = words.rpartition(" ")
    if last.lower() in _AFTER and rest:
        power, words = _AFTER[last.lower()], rest
    name = words.strip().rstrip(".")
    if len(name) == 1 and name.isascii() and name.isalpha() and not (symbols and name in _SYMBOLS):
        return None
    key = re.sub(r"\s+", "-", name.lower())
    for known in (key, key.removesuffix("s"), key.removesuffix("es")):
        if known in _CANONICAL:
            return _CANONICAL[known] + power
    found = re.findall(r"[A-Za-z]+", name)
    if (
        not nouns
        or not found
        or any(word.lower() in _NOT_UNITS or word.lower() in _FACTORS for word in found)
    ):
        return None
    noun = found[-1].lower()
    if len(noun) < 3 or not re.search("[aeiouy]", noun):
        return None
    return re.sub(r"(?<=[sxh])es\Z|s\Z", "", noun) + power
