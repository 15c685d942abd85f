r"""What counts as the right answer, case by case: boxes, LaTeX, units, letters, texts that were cut."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from dami_merge.bundled import bundled_questions
from dami_merge.errors import DamiMergeError
from dami_merge.evaluation.grading import math_judge
from dami_merge.evaluation.grading.grader import Grade, Grader
from dami_merge.evaluation.grading.line_process import LineProcess
from dami_merge.evaluation.grading.math_judge import MathJudge
from dami_merge.evaluation.grading.thinking import split_thinking
from dami_merge.evaluation.questions.question import AnswerKind, Message, Question
from dami_merge.optional import install_hint


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader() as shared:
        yield shared


def asked(answer: str, kind: AnswerKind) -> Question:
    return Question("q", (Message("user", "?"),), answer, kind=kind)


MATH = [
    # the gold answer, the text, right or wrong
    ("18", r"\boxed{18}", True),
    ("18", r"\boxed{19}", False),
    ("18", r"so it is \boxed{18}, that is eighteen, or 3 times 6.", True),
    ("18", "", False),
    ("18", "  \n", False),
    ("18", r"\boxed{}", False),
    ("18", r"I put it in \boxed{}. 3 times 6 is 18.", True),
    ("18", r"\boxed{18} \boxed{}", True),
    ("18", r"\boxed{17}, no: \boxed{18}", True),
    ("17", r"\boxed{17}, no: \boxed{18}", False),
    ("2,3", r"$\boxed{2}$ and $\boxed{3}$", True),
    ("3", r"\boxed{2} or \boxed{3}", False),
    ("3", r"\boxed{3, 4}", False),
    ("18", r"\boxed{18", False),
    ("18", r"\boxed{18} wait, \boxed{1", False),
    ("18", r"\boxed{1 or so \boxed{18}", True),
    ("18", r"\boxed{18}" + r" \boxed{" * 20_000, False),
    ("18", r"\boxed{" * 20_000 + r"18}", True),
    ("18", "no " * 100_000 + "18", True),
    ("18", "18 of " + "no " * 5_000, False),
    ("18", r"\boxed{" + "1" * 5_000 + " = 18}", False),
    ("18", r"\boxed{18}, {or \boxed{2 {", False),
    ("18", r"\boxed{\boxed{18}}", True),
    ("18", r"\boxed 18", True),
    ("18", r"\fbox{18}", True),
    ("1234", r"\boxed{1,234}", True),
    ("1,234", r"\boxed{1234}", True),
    ("1000000", r"\boxed{1\,000\,000}", True),
    ("1000000", r"\boxed{1{,}000{,}000}", True),
    ("1000000", r"\boxed{1 000 000}", True),
    ("0.5", r"\boxed{\frac12}", True),
    (r"\frac{1}{2}", r"\boxed{0.5}", True),
    (r"\frac{1}{2}", r"\boxed{\dfrac{2}{4}}", True),
    (r"\frac{1}{3}", r"\boxed{0.33}", False),
    (r"\frac{\sqrt{3}}{2}", r"\boxed{\frac{\sqrt{3}}{2}}", True),
    (r"\frac{\sqrt{3}}{2}", r"\boxed{\sqrt{\frac{3}{4}}}", True),
    ("(2,3]", r"\boxed{(2,3]}", True),
    ("(2,3]", r"\boxed{(2,3)}", False),
    ("(2,3)", r"\boxed{(3,2)}", False),
    ("(2,3)", r"\boxed{\left( 2, 3 \right)}", True),
    ("0.5", r"\boxed{50\%}", True),
    (r"50\%", r"\boxed{0.5}", True),
    (r"50\%", r"\boxed{50}", True),
    ("50", r"\boxed{0.5}", False),
    ("5", r"\boxed{x=5}", True),
    ("x=5", r"\boxed{5}", True),
    ("x=5", r"\boxed{y=6}", False),
    ("5", r"\boxed{5 cm}", True),
    ("5", r"\boxed{5\text{ cm}}", True),
    (r"5\text{ cm}", r"\boxed{5}", True),
    ("10", r"\boxed{\$10}", True),
    ("-3", r"\boxed{-3}", True),
    ("-3", r"\boxed{3}", False),
    ("-3", "\\boxed{\u22123}", True),
    ("1200", r"\boxed{1.2 \times 10^3}", True),
    ("1200", r"\boxed{1.2e3}", True),
    ("0.0012", r"\boxed{1.2e-3}", True),
    ("1200", r"\boxed{1.2e4}", False),
    (r"\{1,2\}", r"\boxed{\{2, 1\}}", True),
    ("1,2", r"\boxed{2, 1}", True),
    (r"\{1,2\}", r"\boxed{\{1, 3\}}", False),
    (r"\pm 2", r"\boxed{-2, 2}", True),
    (r"\frac{\pi}{2}", r"\boxed{\pi/2}", True),
    (r"\frac{\pi}{2}", r"\boxed{pi/2}", True),
    (r"\frac{\pi}{2}", "\\boxed{π/2}", True),
    (r"\frac{\pi}{2}", r"\boxed{1.57}", False),
    (r"2\sqrt{5}", r"\boxed{2 sqrt(5)}", True),
    (r"2\sqrt{5}", r"\boxed{2\sqrt{6}}", False),
    ("90", r"\boxed{90^\circ}", True),
    (r"90^\circ", r"\boxed{90}", True),
    ("90", "\\boxed{90°}", True),
    (r"(2,\infty)", "\\boxed{(2, ∞)}", True),
    ("x^2+2x+1", r"\boxed{(x+1)^2}", True),
    ("x^2+2x+1", r"\boxed{(x-1)^2}", False),
    ("6-5i", r"\boxed{-5i + 6}", True),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\boxed{\begin{pmatrix} 1 \\ 2 \end{pmatrix}}", True),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\boxed{\begin{pmatrix} 2 \\ 1 \end{pmatrix}}", False),
    (r"\text{Evelyn}", r"\boxed{Evelyn}", True),
    (r"\text{Evelyn}", r"\boxed{\text{Carla}}", False),
    (r"\text{June 20}", r"\boxed{June 20}", True),
    ("100000000000000001", r"\boxed{100000000000000000}", False),
    # no box
    ("18", "18", True),
    ("18", "The answer is 18.", True),
    ("18", "**Answer:** 18", True),
    ("18", "It is 6 times 3, so 18", True),
    ("6", "#### 6", True),
    ("36", "**Answer:** \\$36", True),
    ("0.35625", "The answer is $.35625$.", True),
    (r"3\sqrt{13}", "Answer: 3\\sqrt{13}", True),
    ("3", "Answer: 3\\sqrt{13}", False),
    ("3", "Answer: 3, 5", False),
    ("42", "The answer is 42, since 6 times 7 is that.", True),
    ("42", "The answer is $42$, not $43$.", True),
    ("18", "The answer is 18.\n\n---", True),
    ("18", "I do not know.", False),
    ("18", "eighteen", False),
]  # fmt: skip

CHOICE = [
    ("B", r"\boxed{B}", "B"),
    ("B", r"\boxed{\text{B}}", "B"),
    ("B", r"\boxed{\textbf{(B)}}", "B"),
    ("B", r"\boxed{(B) 5 \text{ cm}}", "B"),
    ("B", r"\boxed{b}", "B"),
    ("B", r"\boxed{B} and not (C)", "B"),
    ("B", r"\boxed{B", None),
    ("B", r"(B), that is \boxed{", None),
    ("B", r"\boxed{Bananas}", None),
    ("B", "The answer is B.", "B"),
    ("B", "The answer is (B)", "B"),
    ("B", "The answer is **B**", "B"),
    ("B", "Answer: B", "B"),
    ("B", "**Answer:** B", "B"),
    ("B", "the correct option is: B) because (C) is absurd", "B"),
    ("B", "(A) is too small, so (B)", "B"),
    ("B", "A is too small, C too large.\n\nB", "B"),
    ("B", "The answer is A. No, the answer is B.", "B"),
    ("(B)", "(B)", "B"),
    ("B", "The answer is B because it is small.", "B"),
    ("A", "The answer is A because it is small.", "A"),
    ("A", "A cat sits there.", None),
    ("A", "The answer is a cat", None),
    ("A", "The answer is A cat", None),
    ("A", "I think it is one of these, and so do I.", None),
    ("A", "", None),
]  # fmt: skip

EXACT = [
    ("0", "0", "0"),
    ("0", " 0\n", "0"),
    ("0", "The answer is 0", "The answer is 0"),
    ("0", "00", "00"),
    ("0", r"It is \boxed{0}.", "0"),
    ("valid", r"\boxed{\text{valid}}", r"\text{valid}"),
    ("a b", "a \n b", "a \n b"),
    ("yes", "Yes", "Yes"),
    ("yes", r"\boxed{yes", None),
    ("yes", "", None),
]  # fmt: skip
WRONG_EXACT = {"The answer is 0", "00", "Yes", r"\boxed{yes", ""}


@pytest.mark.parametrize(("gold", "text", "correct"), MATH)
def test_mathematics_is_compared_by_value(grader: Grader, gold: str, text: str, correct: bool) -> None:
    assert grader.grade(asked(gold, "math"), text).correct is correct


@pytest.mark.parametrize(("gold", "text", "letter"), CHOICE)
def test_a_choice_is_the_letter_that_the_text_settles_on(
    grader: Grader, gold: str, text: str, letter: str | None
) -> None:
    assert grader.grade(asked(gold, "choice"), text) == Grade(letter, letter is not None)
    assert grader.grade(asked("D", "choice"), text) == Grade(letter, False)


@pytest.mark.parametrize(("gold", "text", "answer"), EXACT)
def test_an_exact_answer_is_the_box_or_the_whole_text(
    grader: Grader, gold: str, text: str, answer: str | None
) -> None:
    assert grader.grade(asked(gold, "exact"), text) == Grade(answer, text not in WRONG_EXACT)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{\frac12} of it, 3", r"\frac12"),
        (r"$\boxed{2}$, $\boxed{3}$", "2, 3"),
        ("so it makes 1,234 of them", "1,234"),
        ("Answer: 3\\sqrt{13}", "3\\sqrt{13}"),
        (r"\boxed{a + \boxed{6}}", r"a + \boxed{6}"),
        ("no number", None),
        (r"\boxed{12", None),
    ],
)
def test_the_grade_says_what_was_graded(grader: Grader, text: str, answer: str | None) -> None:
    assert grader.grade(asked("99", "math"), text).answer == answer


def test_the_bundled_pairs_answers_are_graded_after_their_thinking(grader: Grader) -> None:
    text = "<think>7a-34b*32c-20</think>0"
    answer = split_thinking(text).answer
    assert answer == "0"
    for kind in ("exact", "math"):
        assert grader.grade(asked("0", kind), answer) == Grade("0", True)
    assert bundled_questions().is_file()


@pytest.mark.parametrize(
    "huge", [r"10^{10^{10^{10}}}", r"(10^{10})! - 1", "9" * 1500 + "^{" + "9" * 1500 + "}"]
)
def test_an_answer_too_large_to_compute_is_wrong_and_the_next_is_graded(huge: str) -> None:
    with Grader(limit_s=1) as grader:
        assert grader.grade(asked("18", "math"), rf"\boxed{{{huge}}}") == Grade(huge, False)
        assert grader.grade(asked(r"\frac{1}{2}", "math"), r"\boxed{0.5}").correct


def test_a_process_that_was_killed_is_replaced() -> None:
    with closing(MathJudge()) as judge:
        assert judge.judge("0.5", r"\frac12")
        assert judge._process is not None
        judge._process._process.kill()
        judge._process._process.wait()
        assert judge.judge("0.5", r"\frac12")
    assert judge._process is None


def test_a_process_that_always_dies_is_an_error_and_not_a_wrong_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # It closes its input before it says that it is ready.
    monkeypatch.setattr(math_judge, "_COMMAND", "import os; os.close(0); print('{}', flush=True)")
    with (
        closing(MathJudge()) as judge,
        pytest.raises(DamiMergeError, match="exits before it receives a request"),
    ):
        judge.judge("1", "2")


def test_a_comparison_that_is_silent_ends_as_wrong_and_its_process_is_gone() -> None:
    with closing(MathJudge(limit_s=0)) as judge:  # 0 is no alarm inside, and no patience outside
        assert not judge.judge("1", "x+1")
        assert judge._process is None


def test_threads_share_a_grader_and_each_gets_its_own_answers(grader: Grader) -> None:
    """math-verify's own timeouts would raise in every thread but the main one."""
    grades: dict[int, bool] = {}

    def work(first: int) -> None:
        for number in range(first, first + 25):
            doubled = 2 * number + (1 if number % 3 else 5)  # every third is wrong
            text = rf"\boxed{{\frac{{{doubled}}}{{2}}}}"
            grades[number] = grader.grade(asked(f"{number}.5", "math"), text).correct

    threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 100, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert grades == {number: number % 3 != 0 for number in range(100)}


def test_a_process_that_does_not_start_is_an_error_and_not_a_wrong_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(math_judge, "_COMMAND", "raise SystemExit('no such thing')")
    with (
        closing(MathJudge()) as judge,
        pytest.raises(DamiMergeError, match="math-verify does not start: no such thing") as caught,
    ):
        judge.judge("1", "2")
    assert caught.value.hint


def test_without_math_verify_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with Grader() as fresh:
        with pytest.raises(DamiMergeError, match="math-verify, which is not installed") as caught:
            fresh.grade(asked("x", "math"), r"\boxed{y}")
        assert caught.value.hint == install_hint("sweep")
        assert fresh.grade(asked("A", "choice"), "(A)").correct


def test_an_interrupt_ends_the_process_so_that_no_answer_is_read_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with closing(MathJudge()) as judge:
        assert judge.judge("1", "1.0")
        with monkeypatch.context() as patch:
            patch.setattr(LineProcess, "receive", interrupted)
            with pytest.raises(KeyboardInterrupt):
                judge.judge("1", "1.0")
        assert judge._process is None
        assert not judge.judge("1", "3.0")


def test_grading_never_imports_torch_nor_sympy() -> None:
    program = (
        "import sys; from dami_merge.evaluation.grading.grader import Grader;"
        "from dami_merge.evaluation.questions.question import Message, Question;"
        "q = Question('1', (Message('user', '?'),), '0.5');"
        r"assert Grader().grade(q, r'\boxed{\frac12}').correct;"
        "assert not {'torch', 'sympy', 'math_verify'} & sys.modules.keys(), 'imported'; import math_verify;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
