"""What every page shares: its extra, and its refusal to load anything."""

import sys

import pytest

from dami_merge.errors import DamiMergeError
from dami_merge.report.page import plotting, render


@pytest.mark.parametrize("missing", ["altair", "jinja2", "vl_convert"])
def test_a_missing_extra_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(DamiMergeError, match=f"a page needs {missing}, which is not installed") as caught:
        plotting()
    assert caught.value.hint == "pip install 'dami-merge[report]'"


def test_the_policy_of_a_page_allows_no_address_at_all() -> None:
    page = render("page.html", title="T", values={}, figures=())
    policy = page.partition('content="default-src')[2].partition('"')[0]
    assert policy.split(";")[0].strip() == "'none'"
    assert "http" not in policy
    assert "*" not in policy
