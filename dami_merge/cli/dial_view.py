"""What `dami-merge check-lmc --texts` prints of the beginnings of answers: two tables."""

import json
from typing import TYPE_CHECKING

from dami_merge.connectivity.dial_advice import beginnings
from dami_merge.lambdas import label

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from dami_merge.connectivity.dial import Dial


def dial_table(dial: "Dial") -> "Group":
    """Tabulate for each λ how many answers begin as Thinking's, and how many prompts turn there."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    instruct, thinking = (json.dumps(text, ensure_ascii=False) for text in beginnings(dial))
    table = Table(box=None, pad_edge=False)
    for heading in ("λ", "begin as Thinking's", "prompts that turn"):
        table.add_column(heading, justify="right", no_wrap=True)
    for lam, share, turned in zip(dial.lambdas, dial.share, ("", *map(str, dial.flips)), strict=True):
        table.add_row(label(lam), f"{share:.1%}", turned)
    legend = (
        f"{len(dial.starts)} prompts, temperature {dial.temperature:g}; most often, Instruct begins with"
        f" {instruct}, Thinking with {thinking}"
    )
    return Group(table, Text(legend, "dim"))


def answers_table(dial: "Dial") -> "Table":
    """Tabulate the short answers to the first prompt whose two models' answers differ."""
    from rich.table import Table
    from rich.text import Text

    shown = next((each for each in dial.written if each.texts[0] != each.texts[-1]), dial.written[0])
    table = Table(box=None, pad_edge=False)
    table.add_column("λ", justify="right", no_wrap=True)
    table.add_column(f"greedy answer to text {shown.number + 1}", no_wrap=True, overflow="ellipsis")
    for lam, text in zip(dial.written_lambdas, shown.texts, strict=True):
        table.add_row(label(lam), Text(json.dumps(text, ensure_ascii=False)))
    return table
