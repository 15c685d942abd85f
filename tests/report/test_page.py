"""What every page shares: its extra, and its refusal to load anything."""

import math
import sys
import xml.etree.ElementTree as ET

import pytest

from dami_merge.errors import DamiMergeError
from dami_merge.optional import install_hint
from dami_merge.report.page import figure, plotting, png, render, svg


@pytest.mark.parametrize("missing", ["altair", "jinja2", "vl_convert"])
def test_a_missing_extra_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(DamiMergeError, match=f"a page needs {missing}, which is not installed") as caught:
        plotting()
    assert caught.value.hint == install_hint("report")


def test_the_policy_of_a_page_allows_no_address_at_all() -> None:
    page = render("page.html", title="T", values={}, figures=())
    policy = page.partition('content="default-src')[2].partition('"')[0]
    assert policy.split(";")[0].strip() == "'none'"
    assert "http" not in policy
    assert "*" not in policy


def test_what_is_not_finite_is_null_in_a_figure() -> None:
    alt = plotting()
    values = [{"x": math.nan, "y": math.inf}, {"x": 1.0, "y": -math.inf}]
    made = figure("f", "F", "", alt.Chart(alt.Data(values=values)).mark_point().encode(x="x:Q", y="y:Q"))
    assert made.spec["data"] == {"values": [{"x": None, "y": None}, {"x": 1.0, "y": None}]}


def test_a_figure_for_a_paper_has_a_width_and_a_white_ground() -> None:
    alt = plotting()
    chart = alt.Chart(alt.Data(values=[{"x": 1}])).mark_point().encode(x="x:Q")
    wide = ET.fromstring(svg(figure("f", "F", "", chart.properties(width="container", height=90))))
    assert 560 < float(wide.attrib["width"]) < 640
    assert wide.find("{*}rect[@fill='white']") is not None
    narrow = ET.fromstring(svg(figure("f", "F", "", chart.properties(width=70, height=90))))
    assert 70 < float(narrow.attrib["width"]) < 150


def test_a_png_has_as_many_pixels_as_its_scale_says() -> None:
    alt = plotting()
    chart = alt.Chart(alt.Data(values=[{"x": 1}])).mark_point().encode(x="x:Q").properties(width=70)
    one, three = (int.from_bytes(png(figure("f", "F", "", chart), scale=scale)[16:20]) for scale in (1, 3))
    assert abs(three - 3 * one) <= 3


def test_a_page_holds_no_script_but_its_own_two() -> None:
    page = render("page.html", title="</script><script>", values={}, figures=())
    assert page.count("</script") == 2
