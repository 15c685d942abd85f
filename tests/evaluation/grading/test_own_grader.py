"""A grader of the user's own: found, called, and named when it fails."""

from pathlib import Path

import pytest

from dami_merge.errors import DamiMergeError, UsageError
from dami_merge.evaluation.grading.grader import Grade, Grader
from dami_merge.evaluation.grading.own_grader import grader_name, load_grader
from dami_merge.evaluation.questions.question import Message, Question

QUESTION = Question("q7", (Message("user", "?"),), "18")
CODE = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Seen:
    text: str

def right(question, answer_text):
    return question.answer in answer_text

def raises(question, answer_text):
    raise ValueError("no digits")

def vague(question, answer_text):
    return 1

NOT_A_FUNCTION = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(CODE, encoding="utf-8")
    return path


def test_a_function_of_a_file_grades_in_place_of_the_kinds(file: Path) -> None:
    with Grader(load_grader(f"{file}:right")) as grader:
        assert grader.grade(QUESTION, " eighteen, 18 \n") == Grade("eighteen, 18", True)
        assert grader.grade(QUESTION, r"\boxed{17}") == Grade(r"\boxed{17}", False)
        assert grader.grade(QUESTION, " ") == Grade(None, False)


def test_a_function_of_a_module_grades(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(file.parent))
    assert load_grader("mine:right")(QUESTION, "18")


def test_what_it_raises_or_gives_that_is_no_bool_names_grader_and_question(file: Path) -> None:
    with pytest.raises(
        DamiMergeError, match=r"mine\.py:raises, question 'q7': ValueError: no digits"
    ) as caught:
        load_grader(f"{file}:raises")(QUESTION, "18")
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(DamiMergeError, match=r"mine\.py:vague, question 'q7': returned 1"):
        load_grader(f"{file}:vague")(QUESTION, "18")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "has no 'nothing'"),
        ("NOT_A_FUNCTION", "'NOT_A_FUNCTION' in .* is not callable"),
        ("", "does not name a grader"),
    ],
)
def test_what_cannot_be_called_is_refused_before_anything_runs(file: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_grader(f"{file}:{name}")
    assert "file.py:function" in caught.value.hint


def test_a_module_or_file_that_is_missing_or_fails_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no_such_module_here:f: ModuleNotFoundError"):
        load_grader("no_such_module_here:f")
    with pytest.raises(UsageError, match="FileNotFoundError"):
        load_grader(f"{tmp_path / 'none.py'}:f")
    (tmp_path / "broken.py").write_text("1 / 0", encoding="utf-8")
    with pytest.raises(UsageError, match="ZeroDivisionError: division by zero"):
        load_grader(f"{tmp_path / 'broken.py'}:f")
    with pytest.raises(UsageError, match="'f' does not name a grader"):
        load_grader("f")


def test_an_edited_file_is_another_grader_and_a_module_goes_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def right(question, text):\n    return True\n", encoding="utf-8")
    before = grader_name(f"{file}:right")
    assert before.startswith(f"{file}:right@")
    assert grader_name(f"{file}:right") == before
    file.write_text("def right(question, text):\n    return False\n", encoding="utf-8")
    assert grader_name(f"{file}:right") != before
    assert grader_name("package.module:right") == "package.module:right"
    with pytest.raises(UsageError, match=r"no\.py:right: No such file"):
        grader_name(f"{tmp_path / 'no.py'}:right")
