"""A grader of the user's own: found, called, bounded in time, and named when it fails."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dami_merge.errors import DamiMergeError, UsageError
from dami_merge.evaluation.grading import own_grader
from dami_merge.evaluation.grading.grader import Grade, Grader
from dami_merge.evaluation.grading.line_process import LineProcess
from dami_merge.evaluation.grading.own_grader import OwnGrader, grader_name, load_grader
from dami_merge.evaluation.questions.question import Message, Question

QUESTION = Question("q7", (Message("user", "?"),), "18", "sums", "exact")
CODE = """
from __future__ import annotations
import os, signal, subprocess, sys, threading, time
from dataclasses import dataclass
from pathlib import Path

@dataclass
class Seen:
    text: str

def right(question, answer_text):
    return question.answer in answer_text

def of_numpy(question, answer_text):
    import numpy
    return numpy.array([18.0])[0] == float(answer_text)

def array(question, answer_text):
    import numpy
    return numpy.array([answer_text == "18"])

def raises(question, answer_text):
    raise ValueError("no digits")

def deep(question, answer_text):
    return deep(question, answer_text)

def exits(question, answer_text):
    sys.exit(0)

def leaves(question, answer_text):
    os._exit(7)

def interrupts(question, answer_text):
    raise KeyboardInterrupt

def crashes(question, answer_text):
    os.kill(os.getpid(), signal.SIGSEGV)

def sleeps(question, answer_text):
    if answer_text == "sleep":
        child = subprocess.Popen(["sleep", "600"])
        Path(question.group).write_text(str(child.pid))
        time.sleep(600)
    return True

def stubborn(question, answer_text):
    while True:
        try:
            time.sleep(600)
        except BaseException:
            pass

def forks(question, answer_text):
    os.fork()
    return answer_text == "18"

def threads(question, answer_text):
    threading.Thread(target=time.sleep, args=(1,)).start()
    return answer_text == "18"

def prints(question, answer_text):
    print('{"correct": false}')
    os.write(1, b'{"correct": false}\\n')
    return answer_text == "18"

def reads(question, answer_text):
    return sys.stdin.read() == "" and answer_text == "18"

def changes(question, answer_text):
    before = question.answer
    object.__setattr__(question, "answer", "changed")
    return before == "18"

def sees(question, answer_text):
    return (question.id, question.messages[0].role, question.messages[0].content, question.group,
            question.kind) == ("q7", "user", "?", "sums", "exact")

class Unprintable:
    def __repr__(self):
        raise RuntimeError

RETURNED = {"one": 1, "none": None, "nan": float("nan"), "text": "yes", "half": 0.5, "list": [True],
            "long": "x" * 10**6, "unprintable": Unprintable()}

def returns(question, answer_text):
    return RETURNED[answer_text]

def of_numpy_float(question, answer_text):
    import numpy
    return numpy.float64(1.0)

def two(question, answer_text):
    import numpy
    return numpy.array([True, False])

NOT_A_FUNCTION = 3
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graders") / "mine.py"
    path.write_text(CODE, encoding="utf-8")
    return path


@pytest.fixture
def graders(file: Path) -> Iterator[list[OwnGrader]]:
    """Graders that a test has loaded, closed at its end."""
    loaded: list[OwnGrader] = []
    yield loaded
    for each in loaded:
        each.close()


def refused(grader: OwnGrader, text: str = "18", question: Question = QUESTION) -> DamiMergeError:
    with pytest.raises(DamiMergeError) as caught:
        grader(question, text)
    assert caught.value.exit_code == 3
    assert "earlier answers are kept" in caught.value.hint
    assert "mine.py:" in str(caught.value)
    assert "question 'q7'" in str(caught.value)
    return caught.value


def test_a_function_of_a_file_grades_in_place_of_the_kinds(file: Path) -> None:
    with Grader(load_grader(f"{file}:right")) as grader:
        assert grader.grade(QUESTION, " eighteen, 18 \n") == Grade("eighteen, 18", True)
        assert grader.grade(QUESTION, r"\boxed{17}") == Grade(r"\boxed{17}", False)
        assert grader.grade(QUESTION, " ") == Grade(None, False)
        assert grader.grade(QUESTION, "18 \ud800 \0 ü\u2028.") == Grade("18 \ud800 \0 ü\u2028.", True)
        assert grader.grade(QUESTION, "18" + "x" * 10**6).correct


def test_a_function_of_a_module_grades(
    file: Path, monkeypatch: pytest.MonkeyPatch, graders: list[OwnGrader]
) -> None:
    monkeypatch.syspath_prepend(str(file.parent))
    graders.append(load_grader("mine:right"))
    assert graders[0](QUESTION, "18")


@pytest.mark.parametrize("name", ["of_numpy", "array", "forks", "threads", "prints", "reads", "changes"])
def test_a_grader_may_do_what_a_function_of_the_sweep_must_not(
    file: Path, name: str, graders: list[OwnGrader], capfd: pytest.CaptureFixture[str]
) -> None:
    graders.append(load_grader(f"{file}:{name}", limit_s=20))
    asked = ["18", "17", "18"] if name != "changes" else ["18", "18", "18"]
    assert [graders[0](QUESTION, text) for text in asked] == [text == "18" for text in asked]
    assert QUESTION.answer == "18"
    assert capfd.readouterr().out == ""


def test_a_grader_sees_the_whole_question(file: Path, graders: list[OwnGrader]) -> None:
    graders.append(load_grader(f"{file}:sees"))
    assert graders[0](QUESTION, "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raises", r"ValueError: no digits \(mine\.py, line \d+\)"),
        ("deep", "RecursionError: maximum recursion depth"),
        ("exits", r"SystemExit: 0 \(mine\.py, line \d+\)"),
        ("interrupts", "KeyboardInterrupt"),
        ("leaves", r"ended its process \(exit code 7\)"),
        ("crashes", r"ended its process \(exit code -11\)"),
        ("of_numpy_float", r"returned (np\.float64\(1\.0\)|1\.0)"),
        ("two", "ValueError: can only convert an array of size 1"),
    ],
)
def test_what_is_no_grade_names_grader_and_question(
    file: Path, name: str, message: str, graders: list[OwnGrader]
) -> None:
    graders.append(load_grader(f"{file}:{name}"))
    for _ in range(2):  # a process that has ended is replaced
        with pytest.raises(DamiMergeError, match=message):
            graders[0](QUESTION, "18")
    refused(graders[0])


@pytest.mark.parametrize(
    ("value", "message"),
    [("one", "1"), ("none", "None"), ("nan", "nan"), ("text", "'yes'"), ("half", "0.5"), ("list", "[True]"),
     ("long", "'xxxxx"), ("unprintable", "<Unprintable instance")],
)  # fmt: skip
def test_what_is_neither_true_nor_false_is_shown(
    file: Path, value: str, message: str, graders: list[OwnGrader]
) -> None:
    graders.append(load_grader(f"{file}:returns"))
    error = refused(graders[0], value)
    assert f"returned {message}" in str(error)
    assert len(str(error)) < 1000
    assert "bool(score >= 0.5)" in error.hint


def test_a_grader_that_takes_too_long_is_ended_with_all_that_it_started(
    file: Path, tmp_path: Path, graders: list[OwnGrader]
) -> None:
    graders.append(load_grader(f"{file}:sleeps", limit_s=1))
    noted = tmp_path / "child"
    begun_s = time.monotonic()
    error = refused(graders[0], "sleep", Question("q7", QUESTION.messages, "18", group=str(noted)))
    assert time.monotonic() - begun_s < 10
    assert "no grade within 1 s" in str(error)
    assert "--grader-timeout" in error.hint
    child = int(noted.read_text())
    for _ in range(50):
        state = Path(f"/proc/{child}/stat")
        if not state.exists() or state.read_text().split()[2] == "Z":
            break
        time.sleep(0.1)
    else:
        os.kill(child, 9)
        raise AssertionError("the child of the grader still runs")
    assert graders[0](QUESTION, "18")


def test_a_grader_that_ignores_signals_is_ended(file: Path, graders: list[OwnGrader]) -> None:
    graders.append(load_grader(f"{file}:stubborn", limit_s=0.5))
    assert "no grade within 0.5 s" in str(refused(graders[0]))


def test_an_interrupt_ends_the_process_so_that_no_grade_is_taken_for_another(
    file: Path, graders: list[OwnGrader], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    graders.append(load_grader(f"{file}:right"))
    with monkeypatch.context() as patch:
        patch.setattr(LineProcess, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            graders[0](QUESTION, "18")
    assert not graders[0](QUESTION, "17")


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


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", r"ZeroDivisionError: division by zero \(broken\.py, line 1\)"),
        ("import sys; sys.exit(0)", r"SystemExit: 0 \(broken\.py, line 1\)"),
        ("import os; os._exit(3)", r"importing it ended the process \(exit code 3\)"),
        ("def f(:", "SyntaxError: "),
        ("x = '\0'", "(SyntaxError|ValueError): source code .*null bytes"),
    ],
)
def test_a_file_that_fails_when_imported_is_refused(tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "broken.py").write_text(code, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        load_grader(f"{tmp_path / 'broken.py'}:f")


def test_a_grader_that_imports_for_ever_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_grader, "LOAD_S", 1.0)
    (tmp_path / "slow.py").write_text("import time; time.sleep(600)", encoding="utf-8")
    with pytest.raises(UsageError, match="importing it takes more than 1 s"):
        load_grader(f"{tmp_path / 'slow.py'}:f")


def test_a_module_or_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no_such_module_here:f: ModuleNotFoundError"):
        load_grader("no_such_module_here:f")
    with pytest.raises(UsageError, match="FileNotFoundError"):
        load_grader(f"{tmp_path / 'none.py'}:f")
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
