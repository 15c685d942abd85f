"""Queries for the tests of features."""

from collections.abc import Sequence


def said(*turns: str) -> Sequence[dict[str, str]]:
    """A conversation whose turns are all the user's."""
    return [{"role": "user", "content": turn} for turn in turns]


QUERIES = (
    said("How many days are in three weeks?"),
    said("If all bloops are razzies, are some razzies bloops?"),
    said("7a-3b*3c-2"),
)
