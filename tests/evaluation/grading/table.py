"""The table of grading cases: text files in `cases/`, in which LaTeX needs no quoting."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "cases"
_SHOWN = str.maketrans({"⏎": "\n", "⇥": "\t", "␣": " "})


@dataclass(frozen=True)
class Case:
    """One text against one correct answer."""

    topic: str
    gold: str
    text: str
    correct: bool

    def __str__(self) -> str:
        return f"{self.topic}, {self.gold} {'is' if self.correct else 'is not'} {self.text}".replace(
            "\n", " "
        )


def cases(name: str) -> list[Case]:
    """Read a file: `# topic`, `= correct answer`, `+ right`, `- wrong`, `% comment`."""
    found: list[Case] = []
    topic = gold = ""
    for line in (FOLDER / f"{name}.txt").read_text(encoding="utf-8").split("\n"):
        mark, text = line[:1], line[2:].translate(_SHOWN)
        if mark == "#":
            topic = text
        elif mark == "=":
            gold = text
        elif mark in {"+", "-"}:
            found.append(Case(topic, gold, text, mark == "+"))
        else:
            assert mark in {"", "%"}, line
    return found


TABLE = {name: cases(name) for name in ("boxed", "texts", "choice", "exact")}
