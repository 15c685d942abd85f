"""What a terminal would obey and a spreadsheet would run is shown instead."""

import json

import pytest

from dami_merge.harmless import csv_cell, visible, without_surrogates


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\u001b[31mred"),
        ("\x1b]0;title\x07", r"\u001b]0;title\u0007"),
        ("\x1b]8;;http://evil\x1b\\link", r"\u001b]8;;http://evil\u001b" "\\link"),
        ("\x9b31m", r"\u009b31m"),
        ("a\rb\bc\x7f\x00", r"a\u000db\u0008c\u007f\u0000"),
        ("user\u202egnp.exe", r"user\u202egnp.exe"),
        ("\u2066a\u2069\u200f", r"\u2066a\u2069\u200f"),
        ("bad \udc9b", r"bad \udc9b"),
        ("a\tb\nc", "a\tb\nc"),
        ("λ = 0.5, 因此答案是 42, [red] 👩‍🔬", "λ = 0.5, 因此答案是 42, [red] 👩‍🔬"),
    ],
)
def test_control_characters_are_escaped_and_all_other_text_stays(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown


def test_no_control_character_but_tab_and_newline_is_left() -> None:
    controls = [chr(code) for code in [*range(32), *range(127, 160)]]
    assert [c for c in controls if visible(c) == c] == ["\t", "\n"]


def test_a_json_document_keeps_its_value() -> None:
    value = {"a": '\x1b[31m \x9b \u202e \\ " \x7f'}
    document = visible(json.dumps(value, ensure_ascii=False))
    assert "\x9b" not in document
    assert json.loads(document) == value


@pytest.mark.parametrize(
    "text",
    ["=1+1", "=cmd|'/c calc'!A1", "+A1", "-A1", "@SUM(A1)", "\t=1", " =1", "\n=1", "\uff1d1", "-5 apples"],
)
def test_a_text_that_begins_like_a_formula_gets_an_apostrophe(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-5", "+3.5", "-1e-3", "-.5", "3 - 2", "a=b", "model.layers.0", "", "42"])
def test_numbers_and_other_texts_stay_as_they_are_in_a_csv(text: str) -> None:
    assert csv_cell(text) == text


def test_a_csv_cell_holds_no_control_characters() -> None:
    assert csv_cell("\x1b[2Jx\ny") == "\\u001b[2Jx\ny"


def test_lone_surrogates_become_replacement_characters_and_can_then_be_encoded() -> None:
    assert without_surrogates("a\ud800b\udfff 👍").encode() == "a\ufffdb\ufffd 👍".encode()
