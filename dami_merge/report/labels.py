"""Places labels beside points so that none covers another label or a point, however wide the figure is drawn.

Knows pixels and texts, not figures. A page draws the same figure at any width, so a place must do for all.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

WIDTHS = range(250, 921, 10)
"""Widths in pixels of the area in which points lie: from a phone's to a page's."""

_CHARACTER, _LINE = 7.2, 15.0
"""Largest width of a digit and height of a line, in pixels, at a font size of 12."""

_RADIUS = 8.0
"""Half the side of the square that a dot takes, with some air."""

Align = Literal["left", "center", "right"]
_PLACES: tuple[tuple[float, float, Align], ...] = (
    (9, 11, "left"), (-9, -11, "right"), (-9, -18, "right"), (9, 18, "left"),
    (0, 17, "center"), (0, -17, "center"), (9, -11, "left"), (-9, 11, "right"), (12, 0, "left"),
    (-12, 0, "right"), (9, 27, "left"), (-9, 27, "right"), (-9, -27, "right"), (9, -27, "left"),
)  # fmt: skip
"""Offsets from the point, in pixels; y grows downwards. The first are off the steps of a frontier."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Spot:
    """One point in a figure.

    Attributes:
        x: Position from the left, as a part of the width.
        y: Position from the top, in pixels.
        text: What the label says.
    """

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class PlacedLabel:
    """One label.

    Attributes:
        spots: Numbers of the points that it names, ascending; several where they are too close for one each.
        text: Texts of these points: `a, b`, or `a to c` where more than two stand in a row.
        dx: Offset in pixels of the label from the mean of its points, to the right.
        dy: The same, downwards, to the middle of the line.
        align: Side of the text that is at this offset.
    """

    spots: tuple[int, ...]
    text: str
    dx: float
    dy: float
    align: Align

    @property
    def led(self) -> bool:
        """Whether a line should lead to the label, since it is not where most are."""
        return (self.dx, self.dy, self.align) != _PLACES[0]


def place_labels(spots: Sequence[Spot], *, height: float) -> tuple[PlacedLabel, ...]:
    """Place a label for every point; points that lie too close together share one.

    Args:
        spots: Points in an order in which neighbours may be joined.
        height: Height of the figure in pixels.

    Returns:
        Labels in the order of their first points. At every width of `WIDTHS`, none overlaps another, a point
        or an edge. A point that has no such place even together with its neighbours has no label.
    """
    groups = _touching(spots)
    best: tuple[PlacedLabel, ...] = ()
    while groups:
        placed: list[PlacedLabel] = []
        missed: list[int] = []
        for number, group in enumerate(groups):
            label = _placed(spots, group, placed, height)
            if label is None:
                missed.append(number)
            else:
                placed.append(label)
        best = max(best, tuple(placed), key=lambda found: sum(len(label.spots) for label in found))
        if not missed or len(groups) == 1:
            break
        groups = _joined(spots, groups, missed[0])
    return best


def label_box(spots: Sequence[Spot], label: PlacedLabel, width: float) -> Box:
    """Return left, top, right and bottom of a label in a figure of some width, in pixels."""
    x, y = _anchor(spots, label.spots, width)
    wide = _CHARACTER * len(label.text)
    left = x + label.dx - {"left": 0.0, "center": wide / 2, "right": wide}[label.align]
    return left, y + label.dy - _LINE / 2, left + wide, y + label.dy + _LINE / 2


def anchor(spots: Sequence[Spot], label: PlacedLabel) -> tuple[float, float]:
    """Return where a label is attached: the mean of its points, x as a part of the width, y in pixels."""
    return _anchor(spots, label.spots, 1.0)


def _anchor(spots: Sequence[Spot], group: Sequence[int], width: float) -> tuple[float, float]:
    own = [spots[number] for number in group]
    return width * sum(each.x for each in own) / len(own), sum(each.y for each in own) / len(own)


def _placed(
    spots: Sequence[Spot], group: tuple[int, ...], before: Sequence[PlacedLabel], height: float
) -> PlacedLabel | None:
    for dx, dy, align in _PLACES:
        label = PlacedLabel(group, _text(spots, group), dx, dy, align)
        if all(_fits(spots, label, before, width, height) for width in WIDTHS):
            return label
    return None


def _fits(
    spots: Sequence[Spot], label: PlacedLabel, before: Sequence[PlacedLabel], width: float, height: float
) -> bool:
    box = _left, top, right, bottom = label_box(spots, label, width)
    if _left < 0 or top < 0 or right > width or bottom > height:
        return False
    dots = (
        (spot.x * width - _RADIUS, spot.y - _RADIUS, spot.x * width + _RADIUS, spot.y + _RADIUS)
        for spot in spots
    )
    return not any(_cross(box, dot) for dot in dots) and not any(
        _cross(box, label_box(spots, other, width)) for other in before
    )


def _cross(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _touching(spots: Sequence[Spot]) -> list[tuple[int, ...]]:
    """Return groups of points that look like one even in a wide figure."""
    groups: list[tuple[int, ...]] = []
    for number in range(len(spots)):
        here = _anchor(spots, (number,), WIDTHS[-1])
        near = [
            group
            for group in groups
            if any(math.dist(here, _anchor(spots, (other,), WIDTHS[-1])) < _RADIUS for other in group)
        ]
        groups = [group for group in groups if group not in near]
        groups.append(tuple(sorted((*itertools.chain(*near), number))))
    return sorted(groups)


def _joined(spots: Sequence[Spot], groups: Sequence[tuple[int, ...]], place: int) -> list[tuple[int, ...]]:
    """Join one group with the nearest other."""
    own = _anchor(spots, groups[place], WIDTHS[0])

    def distance(other: int) -> float:
        return math.dist(own, _anchor(spots, groups[other], WIDTHS[0]))

    nearest = min((other for other in range(len(groups)) if other != place), key=distance)
    first, last = sorted((place, nearest))
    together = tuple(sorted((*groups[first], *groups[last])))
    return [together if n == first else group for n, group in enumerate(groups) if n != last]


def _text(spots: Sequence[Spot], group: Sequence[int]) -> str:
    """Name the points of a group, with `to` for three and more in a row."""
    runs: list[list[int]] = []
    for number in group:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = []
    for run in runs:
        own = [spots[number].text for number in run]
        texts += [f"{own[0]} to {own[-1]}"] if len(own) > 2 else own
    return ", ".join(texts)
