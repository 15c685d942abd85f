"""Dates and times of day as they are written: `June 20`, `20 June 2024`, `3:30 p.m.`, `2024-06-20`."""

import re

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
_MONTH += r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
_MONTH_FIRST = re.compile(rf"{_MONTH}\s+{_DAY}(?:,?\s+(\d{{4}}))?", re.IGNORECASE)
_DAY_FIRST = re.compile(rf"(?:the\s+)?{_DAY}\s+(?:of\s+)?{_MONTH}(?:,?\s+(\d{{4}}))?", re.IGNORECASE)
_ISO = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?\s*([ap]\.?\s?m\.?)?", re.IGNORECASE)


def moment(text: str) -> tuple[int | str, ...] | None:
    """Read a date or a time of day; None for anything else.

    Returns:
        A value that is equal for equal dates and times; `3:30` without am or pm is half past three at night.

    Example:
        >>> moment("20 June") == moment("June 20th"), moment("3:30 p.m.") == moment("15:30")
        (True, True)
    """
    text = text.strip()
    if match := _MONTH_FIRST.fullmatch(text):
        return _date(match[1], match[2], match[3])
    if match := _DAY_FIRST.fullmatch(text):
        return _date(match[2], match[1], match[3])
    if match := _ISO.fullmatch(text):
        return "date", int(match[2]), int(match[3]), int(match[1])
    if match := _CLOCK.fullmatch(text):
        hour, half = int(match[1]), (match[4] or "").lower()[:1]
        if half and hour <= 12:
            hour = hour % 12 + (12 if half == "p" else 0)
        return "time", hour, int(match[2]), int(match[3] or 0)
    return None


def _date(month: str, day: str, year: str | None) -> tuple[int | str, ...]:
    return "date", _MONTHS.index(month.lower()[:3]) + 1, int(day), int(year or 0)
