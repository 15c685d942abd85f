r"""The table of grading cases, one test each, and answers that are written to break a grader."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from dami_merge.evaluation.grading.grader import Grader
from dami_merge.evaluation.grading.thinking import split_thinking
from dami_merge.evaluation.questions.question import AnswerKind, Message, Question
from tests.evaluation.grading.table import TABLE, Case

ROOT = Path(__file__).parent.parent.parent.parent
KINDS: dict[str, AnswerKind] = {"boxed": "math", "texts": "math", "choice": "choice", "exact": "exact"}


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader() as shared:
        yield shared


def graded(grader: Grader, case: Case, name: str) -> bool:
    question = Question("q", (Message("user", "?"),), case.gold, kind=KINDS[name])
    return grader.grade(question, rf"\boxed{{{case.text}}}" if name == "boxed" else case.text).correct


@pytest.mark.parametrize("topic", sorted({case.topic for case in TABLE["boxed"]}))
def test_a_boxed_answer_is_right_where_the_table_says_so(grader: Grader, topic: str) -> None:
    wrong = [str(c) for c in TABLE["boxed"] if c.topic == topic and graded(grader, c, "boxed") != c.correct]
    assert wrong == []


@pytest.mark.parametrize("name", ["texts", "choice", "exact"])
def test_a_text_is_right_where_the_table_says_so(grader: Grader, name: str) -> None:
    assert [str(case) for case in TABLE[name] if graded(grader, case, name) != case.correct] == []


def test_a_letter_that_is_right_for_one_choice_is_wrong_for_every_other(grader: Grader) -> None:
    for case in TABLE["choice"]:
        other = Case(case.topic, "D", case.text, correct=False)
        assert not graded(grader, other, "choice"), case.text


def test_every_correct_answer_of_the_table_is_right_against_itself(grader: Grader) -> None:
    for gold in {case.gold for case in TABLE["boxed"]}:
        assert graded(grader, Case("itself", gold, gold, correct=True), "boxed"), gold


def test_the_readme_counts_the_cases() -> None:
    readme = (ROOT / "dami_merge" / "evaluation" / "README.md").read_text(encoding="utf-8")
    for name, rows in TABLE.items():
        right = sum(case.correct for case in rows)
        assert f"(`{name}.txt`) | {right} | {len(rows) - right} |" in readme


def test_the_table_has_both_sides_of_every_topic() -> None:
    counts = Counter((case.topic, case.correct) for rows in TABLE.values() for case in rows)
    assert sum(counts.values()) >= 1000
    one_sided = {topic for topic, _ in counts if not (counts[topic, True] and counts[topic, False])}
    assert one_sided == {"truncated", "letters", "no letter, or several"}


HOSTILE = [
    "9" * 3900, "7" * 5000, "(" * 2000 + "7" + ")" * 2000, "{" * 1500, "7" + "\\" * 100, "\x007", "\ud800",
    r"\frac{7}{0}", r"\frac{1}{0}", "7/0", "NaN", "inf", "-inf", r"\left(" * 30, "7;" * 500, "7," * 1900,
    r"\text{" * 200, "__import__('os')", "7; import os", "<b>7", "=7=", "==", "$", "$$", "{}", "()", "_7",
    "^7", r"\sqrt", r"\frac", "?", "10^{99999}", "1e99999", "1e-99999", "0." + "0" * 3000 + "1", r"\pm" * 50,
    " " * 3000 + "8", "\u202e7\u202c8", "７８", "\x1b]0;7\x07", r"\begin{bmatrix}" * 9, "7 " * 1500,
    "a" * 3999, "7/" * 1500, "<" * 3000, "7 cm" * 800,
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_a_hostile_answer_is_wrong_and_soon_so(grader: Grader, number: int) -> None:
    for text in (rf"\boxed{{{HOSTILE[number]}}}", HOSTILE[number], f"The answer is {HOSTILE[number]}."):
        for kind in KINDS.values():
            gold = "B" if kind == "choice" else "7777"
            begun_s = time.monotonic()
            assert not grader.grade(Question("q", (Message("user", "?"),), gold, kind=kind), text).correct
            assert time.monotonic() - begun_s < 10


@pytest.mark.parametrize("gold", HOSTILE)
def test_a_hostile_correct_answer_breaks_nothing(grader: Grader, gold: str) -> None:
    assert not grader.grade(Question("q", (Message("user", "?"),), gold), r"\boxed{7777}").correct


@pytest.mark.parametrize(
    ("text", "correct", "state"),
    [
        (r"<think>6*7</think>\boxed{42}", True, "closed"),
        (r"<think>\boxed{42}</think>The answer is 41.", False, "closed"),
        (r"<think>\boxed{41}</think>\boxed{42}", True, "closed"),
        (r"6*7</think>\boxed{42}", True, "closed"),
        (r"<think>\boxed{42}", False, "unclosed"),
        ("<think>6*7 is 42. The answer is 42.", False, "unclosed"),
        (r"<think>a</think>\boxed{41}<think>b</think>\boxed{42}", True, "closed"),
        (r"<think>a</think>\boxed{42}<think>b", False, "unclosed"),
        (r"<think>6*7</thought>\boxed{42}", True, "wrong-tag"),
        (r"<think>6*7<\think>\boxed{42}", True, "wrong-tag"),
        ("<think>6*7[/think]42", True, "wrong-tag"),
        ("<think></think>42", True, "closed"),
        ("<think>42</think>", False, "closed"),
        ("<think>42</think>   ", False, "closed"),
        (r"\boxed{42}", True, "none"),
        ("</think>42", True, "closed"),
    ],
)
def test_only_what_follows_the_thinking_is_graded(
    grader: Grader, text: str, correct: bool, state: str
) -> None:
    split = split_thinking(text)
    assert split.state == state
    found = split.answer is not None and graded(grader, Case("", "42", split.answer, correct), "texts")
    assert found is correct


LOOPS = [
    "A, ",
    "A or ",
    "answer ",
    "answer is ",
    "the the option ",
    "$1 ",
    r"\boxed{",
    r"\frac{",
    "1 + ",
    "B ",
    "A . ",
]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_text_that_repeats_itself_is_graded_at_once(grader: Grader, loop: str) -> None:
    for kind in KINDS.values():
        for text in (loop * 20_000, loop * 5_000 + "\n", rf"\boxed{{{loop * 5_000}}}"):
            begun_s = time.monotonic()
            assert not grader.grade(Question("q", (Message("user", "?"),), "D", kind=kind), text).correct
            assert time.monotonic() - begun_s < 3


WORDS = r"42 \frac { } $ \text{ ( ) [ ] , or and = < \le ^ _ % \pm \cup x cm \$ / ! ' 1 \sqrt \boxed{ not A"
TOKENS = (*WORDS.split(), "是", r"\\", "&", "?", ".", "B", "answer is", "\n", " ")


def test_random_answers_are_wrong_and_break_nothing(grader: Grader) -> None:
    chance = random.Random(11)
    for _ in range(150):
        text = "".join(chance.choice(TOKENS) for _ in range(chance.randint(1, 14)))
        for kind, gold in (("math", "7777"), ("math", r"\frac{x}{3}"), ("choice", "D"), ("exact", "D")):
            for written in (text, rf"\boxed{{{text}}}"):
                question = Question("q", (Message("user", "?"),), gold, kind=cast("AnswerKind", kind))
                assert not grader.grade(question, written).correct, written
