"""Where thinking ends: own tags, wrong tags, pre-filled tags, blocks that were left open."""

import pytest

from dami_merge.evaluation.grading.thinking import Split, split_thinking


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("0", Split("none", "", "0")),
        ("", Split("none", "", "")),
        ("<think>7a-34</think>0", Split("closed", "7a-34", "0")),
        ("<think>\n\n</think>\n\n0\n", Split("closed", "", "0")),
        ("\n<think>a</think>", Split("closed", "a", "")),
        ("<think>a", Split("unclosed", "a", None)),
        ("<think>", Split("unclosed", "", None)),
        ("a</think>0", Split("closed", "a", "0")),  # the template wrote the begin tag, and nobody said so
        ("<think>a</think>b<think>c</think>0", Split("closed", "a" + "b<think>c", "0")),
        ("<think>a</think>b<think>c", Split("unclosed", "a" + "b<think>c", None)),
        ("<think>a</thought>b<think>c", Split("unclosed", "a</thought>b<think>c", None)),
        ("<think>a</think>5</think>", Split("closed", "a", "5</think>")),
        ("<think>a <b> </i> </th> <\\theta></think>0", Split("closed", "a <b> </i> </th> <\\theta>", "0")),
    ],
)
def test_a_block_is_cut_off_at_its_own_tag(text: str, split: Split) -> None:
    assert split_thinking(text) == split


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("a</think>0", Split("closed", "a", "0")),
        ("<think>a</think>0", Split("closed", "a", "0")),
        ("0", Split("unclosed", "0", None)),
        ("a</thought>0", Split("wrong-tag", "a", "0")),
    ],
)
def test_a_prefilled_tag_begins_the_block(text: str, split: Split) -> None:
    assert split_thinking(text, prefilled=True) == split


@pytest.mark.parametrize(
    "tag",
    [
        "</thinking>", "</thought>", "<\\think>", "</Think>", "</ think >", "< /think>", "<|/think|>",
        "[/think]", "<think/>", "</THINK>", "</thin>", "</reasoning>", "</thoughts>", "<|\\Thinking|>",
    ],
)  # fmt: skip
def test_a_wrong_tag_closes_too_and_is_reported(tag: str) -> None:
    assert split_thinking(f"<think>a{tag} 0 ") == Split("wrong-tag", "a", "0")


@pytest.mark.parametrize(
    "text", ["a </b>", "<\\theta>", "</th>", "</answer>", "<think>b", "/think", "</ thinker>"]
)
def test_other_tags_close_nothing(text: str) -> None:
    assert split_thinking(f"<think>{text}").state == "unclosed"


def test_the_own_tag_wins_over_a_wrong_one_before_it() -> None:
    assert split_thinking("<think>a</thought>b</think>0") == Split("closed", "a</thought>b", "0")


def test_the_tags_are_arguments() -> None:
    text = "[THINK]a</think>b[/THINK]0"
    assert split_thinking(text, begin="[THINK]", end="[/THINK]") == Split("closed", "a</think>b", "0")
    seed = "<seed:think>a</Seed:Think>0"
    assert split_thinking(seed, begin="<seed:think>", end="</seed:think>") == Split("wrong-tag", "a", "0")


def test_an_open_block_may_be_graded_as_it_stands() -> None:
    text = "Six by three is \\boxed{18}."
    assert split_thinking(text, prefilled=True, grade_open=True) == Split("unclosed", text, text)
    assert split_thinking(f"<think>{text}", grade_open=True).answer == text
    assert split_thinking("a</think>0", prefilled=True, grade_open=True) == Split("closed", "a", "0")
