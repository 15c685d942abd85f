"""Labels never cover each other or a point, at any width, however close the points are."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dami_merge.report.labels import WIDTHS, PlacedLabel, Spot, label_box, place_labels
from tests.evaluation.simulated import QUICK

HEIGHT = 380
CLOUDS = st.lists(st.tuples(st.floats(0.02, 0.95), st.floats(0.05, 0.95)), min_size=1, max_size=12).map(
    lambda pairs: [Spot(x, y * HEIGHT, f"0.{n:02}") for n, (x, y) in enumerate(pairs)]
)


def crossing(spots: list[Spot], labels: tuple[PlacedLabel, ...], width: float) -> list[tuple[str, str]]:
    """Labels that share a pixel with another one, a dot of 5 pixels, or what is outside the figure."""
    boxes = {label.text: label_box(spots, label, width) for label in labels}
    dots = {f"dot {n}": (s.x * width - 5, s.y - 5, s.x * width + 5, s.y + 5) for n, s in enumerate(spots)}
    pairs = [*itertools.combinations(boxes, 2), *itertools.product(boxes, dots)]
    every = {**boxes, **dots}
    found = []
    for one, other in pairs:
        a, b = every[one], every[other]
        if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]:
            found.append((one, other))
    found += [(text, "edge") for text, b in boxes.items() if min(b[:2]) < 0 or b[2] > width or b[3] > HEIGHT]
    return found


@QUICK
@given(CLOUDS)
def test_nothing_overlaps_at_any_width_and_no_point_is_named_twice(spots: list[Spot]) -> None:
    labels = place_labels(spots, height=HEIGHT)
    for width in WIDTHS:
        assert crossing(spots, labels, width) == []
    named = [number for label in labels for number in label.spots]
    assert len(named) == len(set(named))
    assert len(spots) > 3 or len(named) == len(spots)


def test_points_apart_have_a_label_each_below_on_the_right() -> None:
    labels = place_labels([Spot(0.1, 300, "0.00"), Spot(0.7, 50, "1.00")], height=HEIGHT)
    assert [(label.text, label.align) for label in labels] == [("0.00", "left"), ("1.00", "left")]
    assert all(label.dx > 0 and label.dy > 0 for label in labels)


def test_a_point_at_the_right_edge_has_its_label_on_the_left() -> None:
    (label,) = place_labels([Spot(0.99, 100, "1.00")], height=HEIGHT)
    assert (label.align, label.dx < 0) == ("right", True)


def test_two_that_touch_stand_on_two_sides() -> None:
    """As λ = .90 and 1.00 of the bundled pair: 14 pixels apart on a phone."""
    spots = [Spot(0.88, 30, "0.90"), Spot(0.94, 24, "1.00")]
    labels = place_labels(spots, height=HEIGHT)
    assert [label.text for label in labels] == ["0.90", "1.00"]
    assert len({(label.dx, label.dy) for label in labels}) == 2


@pytest.mark.parametrize(("count", "text"), [(2, "0.00, 0.25"), (3, "0.00 to 0.50"), (4, "0.00 to 0.75")])
def test_points_on_one_spot_share_a_label(count: int, text: str) -> None:
    """As the λ on one side of a switch."""
    spots = [*(Spot(0.3, 200, f"{n / 4:.2f}") for n in range(count)), Spot(0.9, 20, "1.00")]
    labels = place_labels(spots, height=HEIGHT)
    assert [label.text for label in labels] == [text, "1.00"]
    assert [label.spots for label in labels] == [tuple(range(count)), (count,)]


def test_where_there_is_no_room_at_all_there_is_no_label() -> None:
    assert place_labels([Spot(0.5, 5, "a label that is far longer than a phone is wide")], height=10) == ()
    assert place_labels([], height=HEIGHT) == ()
