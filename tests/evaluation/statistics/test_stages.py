"""A path is parted where thinking begins and where it is saturated."""

from fractions import Fraction

import pytest

from dami_merge.errors import InputRefused
from dami_merge.evaluation.statistics.point import Point
from dami_merge.evaluation.statistics.stages import stages


def of(*shares: float | None) -> list[Point]:
    return [Point(Fraction(n, 10), 0.5, 1, share) for n, share in enumerate(shares)]


@pytest.mark.parametrize(
    ("shares", "sizes", "start", "stop"),
    [
        ((0, 0, 0.4, 1, 1), (1, 3, 1), 1, 3),
        ((0, 0, 1, 1), (1, 2, 1), 1, 2),
        ((0.05, 0.95), (0, 2, 0), 0, 1),
        ((0, 0, 0), (3, 0, 0), 2, None),
        ((1, 1, 1), (0, 0, 3), None, 0),
        ((0.3, 0.6, 1, 1), (0, 3, 1), None, 2),
        ((0, 0.6, 0.9), (0, 3, 0), 0, None),
        ((0.3, 0.6), (0, 2, 0), None, None),
        ((0, 0.2, 0, 1, 0.5, 1), (0, 6, 0), 0, 5),
        ((0,), (1, 0, 0), 0, None),
    ],
)
def test_the_switch_runs_from_the_last_that_never_thinks_to_the_first_that_always_does(
    shares: tuple[float, ...], sizes: tuple[int, int, int], start: int | None, stop: int | None
) -> None:
    found = stages(of(*shares)[::-1])
    parts = (found.before, found.switch, found.after)
    assert tuple(map(len, parts)) == sizes
    assert [lam for part in parts for lam in part] == [point.lam for point in of(*shares)]
    assert found.start == (None if start is None else Fraction(start, 10))
    assert found.stop == (None if stop is None else Fraction(stop, 10))


def test_a_path_without_thinking_shares_has_no_stages() -> None:
    with pytest.raises(
        InputRefused, match=r"the share of closed thinking blocks is missing at λ = 0\.10, 0\.20"
    ):
        stages(of(0.0, None, None))
