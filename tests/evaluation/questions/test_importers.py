"""Question files of every known shape come in whole, and what is none is named with its place."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest

from dami_merge.errors import InputRefused, UsageError
from dami_merge.evaluation.questions.importers import SUFFIXES, read_questions
from dami_merge.evaluation.questions.question import Message, Question
from dami_merge.evaluation.questions.shapes import SHAPES


def lines(path: Path, *records: Any) -> str:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return str(path)


def user(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


NATIVE = {"id": "a", "prompt": " 2+2? ", "answer": "4", "group": "sums", "kind": "exact"}


def test_native_lines_are_taken_as_they_are(tmp_path: Path) -> None:
    file = lines(
        tmp_path / "q.jsonl",
        NATIVE,
        {"id": 7, "prompt": "3+3?", "answer": 6, "group": 2},
        {"prompt": "A) x B) y", "answer": "(b)", "kind": "choice"},
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "answer": 0.5},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "v"}]}], "answer": 142.0},
    )
    assert read_questions(file) == (
        Question("a", user(" 2+2? "), "4", "sums", "exact"),
        Question("7", user("3+3?"), "6", "2", "math"),
        Question("3", user("A) x B) y"), "B", "", "choice"),
        Question("4", (Message("system", "s"), Message("user", "u")), "0.5", "", "math"),
        Question("5", user("v"), "142", "", "math"),
    )
    assert read_questions(file, suffix="Be brief.") == read_questions(file)


GSM8K = {"question": "How many?", "answer": "6 * 3 = <<6*3=18>>18\n#### 1,018"}
MATH = {
    "problem": "Find $x$.",
    "solution": r"\boxed{5}",
    "answer": "5",
    "subject": "Algebra",
    "level": 2,
    "unique_id": "test/algebra/1.json",
}
OLYMPIAD = {
    "id": 1606,
    "question": "Find both.",
    "final_answer": ["$1$", "$\\frac{1}{2}$"],
    "context": None,
    "image_1": None,
    "subfield": "Algebra",
}
SUFFIX = SUFFIXES["math"]


@pytest.mark.parametrize(
    ("shape", "record", "expected"),
    [
        ("gsm8k", GSM8K, Question("1", user(f"How many?\n{SUFFIX}"), "1018")),
        ("problem", MATH, Question("test/algebra/1.json", user(f"Find $x$.\n{SUFFIX}"), "5", "Algebra")),
        (
            "problem",
            {"problem": "p", "answer": 7, "level": "Level 5"},
            Question("1", user(f"p\n{SUFFIX}"), "7", "level 5"),
        ),
        (
            "problem",
            {"ID": "2024-I-1", "Problem": "p", "Solution": "s", "Answer": 204},
            Question("2024-I-1", user(f"p\n{SUFFIX}"), "204"),
        ),
        (
            "problem",
            {"id": 0, "problem": "p", "answer": 142.0, "url": "u"},
            Question("0", user(f"p\n{SUFFIX}"), "142"),
        ),
        ("question", {"question": "p", "answer": "70"}, Question("1", user(f"p\n{SUFFIX}"), "70")),
        (
            "olympiadbench",
            OLYMPIAD,
            Question("1606", user(f"Find both.\n{SUFFIX}"), "1, \\frac{1}{2}", "Algebra"),
        ),
        (
            "olympiadbench",
            {"question": "q", "final_answer": ["2"], "context": "Given c."},
            Question("1", user(f"Given c.\n\nq\n{SUFFIX}"), "2"),
        ),
        ("olympiadbench", {"question": "q", "final_answer": "2"}, Question("1", user(f"q\n{SUFFIX}"), "2")),
        (
            "bbh",
            {"input": "Which?\n(A) x\n(B) y", "target": "(B)"},
            Question("1", user(f"Which?\n(A) x\n(B) y\n{SUFFIXES['choice']}"), "B", "", "choice"),
        ),
        (
            "bbh",
            {"input": "not True is", "target": "False"},
            Question("1", user(f"not True is\n{SUFFIXES['exact']}"), "False", "", "exact"),
        ),
        (
            "reasoning-gym",
            {"question": "q", "answer": "0110", "metadata": {"source_dataset": "d", "source_index": 3}},
            Question("d-3", user(f"q\n{SUFFIXES['exact']}"), "0110", "d", "exact"),
        ),
        (
            "reasoning-gym",
            {"question": "q", "answer": "-110", "metadata": {"source_dataset": "d", "source_index": 3}},
            Question("d-3", user(f"q\n{SUFFIX}"), "-110", "d", "math"),
        ),
    ],
)
def test_a_known_shape_is_recognised_by_its_fields_or_forced(
    tmp_path: Path, shape: str, record: dict[str, Any], expected: Question
) -> None:
    file = lines(tmp_path / "q.jsonl", record)
    assert read_questions(file) == (expected,)
    assert read_questions(file, shape=shape) == (expected,)
    (short,) = read_questions(file, suffix="Be brief.")
    assert short.messages[-1].content.endswith("\nBe brief.")
    assert SUFFIX not in short.messages[-1].content
    (bare,) = read_questions(file, suffix="")
    assert short.messages[-1].content == f"{bare.messages[-1].content}\nBe brief."


def test_every_shape_has_a_record_in_the_tests_above() -> None:
    tested = {"native", "gsm8k", "problem", "question", "olympiadbench", "bbh", "reasoning-gym", "gpqa"}
    assert set(SHAPES) == tested


GPQA = {
    "Record ID": "rec1",
    "Question": "Which, A or B?",
    "Correct Answer": "four,\nor 4",
    "Incorrect Answer 1": "one",
    "Incorrect Answer 2": "two",
    "Incorrect Answer 3": "three",
    "Subdomain": "Optics",
    "High-level domain": "Physics",
}


def write_csv(path: Path, *records: dict[str, str]) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
    return str(path)


def test_the_choices_of_gpqa_are_shuffled_by_the_question_alone(tmp_path: Path) -> None:
    others = [{**GPQA, "Record ID": f"r{n}", "Question": f"Which of {n}?"} for n in range(40)]
    questions = read_questions(write_csv(tmp_path / "gpqa.csv", GPQA, *others))
    first = questions[0]
    assert (first.id, first.group, first.kind) == ("rec1", "Physics", "choice")
    shown = dict(line.split(") ") for line in first.messages[0].content.split("\n") if line[1:3] == ") ")
    assert shown.keys() == set("ABCD")
    assert shown[first.answer] == "four,"
    assert set(shown.values()) == {"four,", "one", "two", "three"}
    assert {question.answer for question in questions} == set("ABCD")
    assert read_questions(write_csv(tmp_path / "2.csv", *others, GPQA))[-1] == first


def test_the_choices_of_gpqa_stay_where_they_were_in_every_release(tmp_path: Path) -> None:
    """Answers that were graded with one order must not be graded with another."""
    (question,) = read_questions(write_csv(tmp_path / "gpqa.csv", GPQA))
    assert question.messages[0].content == (
        "Which, A or B?\n\nA) one\nB) four,\nor 4\nC) two\nD) three\n" + SUFFIXES["choice"]
    )


def test_json_lists_examples_and_lines_under_any_name_are_read(tmp_path: Path) -> None:
    records = [{"input": "a", "target": "(A)"}, {"input": "b", "target": "(C)"}]
    forms = {
        "list.json": json.dumps(records, indent=1),
        "bbh.json": json.dumps({"canary": "c", "examples": records}),
        "lines.json": "\n".join(map(json.dumps, records)),
        "lines.txt": "\n\n".join(map(json.dumps, records)) + "\n\n",
        "bom.jsonl": "\ufeff" + "\r\n".join(map(json.dumps, records)),
    }
    for name, text in forms.items():
        (tmp_path / name).write_bytes(text.encode())
        questions = read_questions(str(tmp_path / name))
        assert [(question.id, question.answer) for question in questions] == [("1", "A"), ("2", "C")], name


def test_a_line_separator_inside_a_text_does_not_cut_the_line(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text('{"prompt": "a\u2028b", "answer": "1"}\n' * 2, encoding="utf-8")
    assert [question.messages for question in read_questions(str(file))] == [user("a\u2028b")] * 2


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": "p"}, "'answer' is missing or empty"),
        ({"prompt": "p", "answer": ""}, "'answer' is missing or empty"),
        ({"prompt": "p", "answer": "  "}, "'answer' is empty"),
        ({"prompt": "p", "answer": None}, "'answer' is missing or empty"),
        ({"prompt": "p", "answer": True}, "'answer' is True, not a string or a number"),
        ({"prompt": "p", "answer": ["4"]}, r"'answer' is \['4'\], not a string or a number"),
        ({"prompt": "", "answer": "4"}, "'prompt' is missing, empty or not a string"),
        ({"prompt": 4, "answer": "4"}, "'prompt' is missing, empty or not a string"),
        (
            {"prompt": "p", "answer": "4", "kind": "maths"},
            "'kind' is 'maths', not one of math, choice, exact",
        ),
        ({"prompt": "p", "answer": "4", "kind": "choice"}, "a letter, not '4'"),
        ({"prompt": "p", "messages": [], "answer": "4"}, "has both 'prompt' and 'messages'"),
        ({"messages": [], "answer": "4"}, "'messages' is not a non-empty list"),
        ({"messages": [{"role": "user"}], "answer": "4"}, "a 'role' and a 'content' that are strings"),
        ({"messages": ["hello"], "answer": "4"}, "a 'role' and a 'content' that are strings"),
        ({"messages": [{"role": "assistant", "content": "x"}], "answer": "4"}, "is from 'assistant'"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}], "answer": "4"},
            "a part that is not text",
        ),
        ({"problem": "p", "answer": "4"}, "expected the format native .*, found the format problem with"),
        ({"text": "p"}, "expected the format native .*, found an unknown format with the fields 'text'"),
        (["p"], "not a JSON object"),
    ],
)
def test_a_record_that_makes_no_question_is_named_with_its_line(
    tmp_path: Path, record: Any, message: str
) -> None:
    file = lines(tmp_path / "q.jsonl", NATIVE, record)
    with pytest.raises(InputRefused, match=rf"q\.jsonl, line 2: .*({message})") as caught:
        read_questions(file)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        (
            GSM8K,
            {"question": "q", "answer": "18"},
            "expected the format gsm8k .*, found the format question with",
        ),
        (
            OLYMPIAD,
            {"question": "q", "final_answer": None},
            "format olympiadbench .*, found an unknown format with the fields 'question'",
        ),
        (GSM8K, {"question": "q", "answer": "so\n#### "}, "'answer' has nothing after '####'"),
        (OLYMPIAD, {"question": "q", "final_answer": []}, "is not a non-empty list of strings"),
        (OLYMPIAD, {**OLYMPIAD, "image_1": "x.png"}, "the question has an image"),
        (GPQA, {**GPQA, "Incorrect Answer 2": "four,\nor 4"}, "is also among the incorrect ones"),
        (MATH, {**MATH, "unique_id": {}}, "'unique_id' is {}, not a string or a number"),
        (GPQA, {**GPQA, "Incorrect Answer 3": None}, "'incorrect answer 3' is missing or empty"),
        (
            {"question": "q", "answer": "1", "metadata": {"source_dataset": "d", "source_index": 0}},
            {"question": "q", "answer": None, "metadata": {"source_dataset": "d", "source_index": 1}},
            "only the generator's own scorer",
        ),
    ],
)
def test_a_record_that_misses_what_its_data_set_has_is_refused(
    tmp_path: Path, good: dict[str, Any], bad: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputRefused, match=f"line 2: .*{message}"):
        read_questions(lines(tmp_path / "q.jsonl", good, bad))


def test_a_forced_shape_refuses_what_is_not_of_it(tmp_path: Path) -> None:
    file = lines(tmp_path / "q.jsonl", {"question": "q", "answer": "18"})
    with pytest.raises(InputRefused, match=r"expected the format gsm8k .*, found the format question"):
        read_questions(file, shape="gsm8k")
    with pytest.raises(UsageError, match="'gsm' is not a known question format") as caught:
        read_questions(file, shape="gsm")
    assert "gsm8k" in caught.value.hint


def test_an_unknown_shape_names_the_fields_that_were_found_and_the_shapes_that_are_known(
    tmp_path: Path,
) -> None:
    with pytest.raises(
        InputRefused, match="line 1: unknown question format with the fields 'text', 'label'"
    ) as caught:
        read_questions(lines(tmp_path / "q.jsonl", {"text": "a", "label": 1}, {"text": "b", "label": 0}))
    (problem,) = caught.value.problems
    (tmp_path / "q.jsonl").write_text('{\n{"text": "a"}', encoding="utf-8")
    with pytest.raises(InputRefused, match=r"line 1: invalid JSON.*\n.*line 2: unknown question format with"):
        read_questions(str(tmp_path / "q.jsonl"))
    assert all(name in problem.hint for name in SHAPES)


def test_all_unfit_lines_are_found_and_five_are_shown_with_the_count(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    rows = [json.dumps(NATIVE), "{", *[json.dumps({"prompt": "p", "id": n}) for n in range(7)]]
    file.write_text("\n".join(rows), encoding="utf-8")
    with pytest.raises(InputRefused) as caught:
        read_questions(str(file))
    assert len(caught.value.problems) == 8
    shown = str(caught.value).splitlines()
    assert "line 2: invalid JSON" in shown[0]
    assert "line 6: 'answer' is missing or empty" in shown[4]
    assert shown[5].startswith("… and 3 more")


def test_two_questions_of_one_id_are_refused_with_both_places(tmp_path: Path) -> None:
    file = lines(tmp_path / "q.jsonl", {**NATIVE, "id": 1}, NATIVE, {**NATIVE, "id": "1"})
    with pytest.raises(InputRefused, match="duplicate id '1' at line 1 and line 3"):
        read_questions(file)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", b"\n", "contains no questions"),
        ("list.json", b"[]", "contains no questions"),
        ("head.csv", b"Question,Correct Answer\n", "contains no questions"),
        ("latin.jsonl", b'{"prompt": "\xe9"}', "is not valid UTF-8"),
        ("q.parquet", b"PAR1", r"\.parquet files are unsupported"),
        ("q.jsonl.gz", b"\x1f\x8b", r"\.gz files are unsupported"),
        ("broken.json", b"[{", "broken.json: Expecting property name"),
        ("quote.csv", b'a,b\n"1,2\n', "quote.csv, line 1: unexpected end"),
        ("deep.jsonl", b'["a"]\n7\n', "deep.jsonl, line 2: not a JSON object"),
        ("wide.csv", b"prompt,answer\na,b\na,b,c\n", "line 3: more cells than the 2 of the header"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputRefused, match=message):
        read_questions(str(tmp_path / name))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="No such file") as caught:
        read_questions(str(tmp_path / "none.jsonl"))
    assert caught.value.problems[0].hint


def test_a_limit_takes_the_first_and_a_seed_shuffles_before(tmp_path: Path) -> None:
    file = lines(tmp_path / "q.jsonl", *[{"prompt": f"p{n}", "answer": n} for n in range(50)])
    everything = read_questions(file)
    assert [question.id for question in read_questions(file, limit=3)] == ["1", "2", "3"]
    shuffled = read_questions(file, shuffle_seed=1)
    assert shuffled != everything
    assert sorted(shuffled, key=everything.index) == list(everything)
    assert read_questions(file, shuffle_seed=1, limit=7) == shuffled[:7]
    assert read_questions(file, shuffle_seed=2, limit=7) != shuffled[:7]
    assert shuffled[0] == everything[random.Random(1).sample(range(50), 50)[0]]
