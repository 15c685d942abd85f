"""A part of tools/README.md that a benchmark writes, between two comments that carry its name."""

import sys
from collections.abc import Sequence
from pathlib import Path

README = Path(__file__).resolve().with_name("README.md")


def put_section(name: str, lines: Sequence[str], readme: Path = README) -> None:
    """Replace what is between `<!-- name -->` and `<!-- end name -->`; fails if either is missing."""
    text = readme.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->\n"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        sys.exit(f"{readme} has no section between {begin.strip()} and {end.strip()}")
    readme.write_text(before + begin + "\n".join(lines) + "\n" + end + after, encoding="utf-8")
