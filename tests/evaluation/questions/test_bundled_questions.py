"""The bundled pair's sets: disjoint, held out from its training, even, and made by the tool."""

import importlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dami_merge.bundled import BUNDLED_SPLITS, bundled_questions, bundled_split
from dami_merge.errors import InputRefused
from dami_merge.evaluation.questions.importers import read_questions

TOOLS = Path(__file__).parents[3] / "tools"
SIZES = {"train": 2100, "validation": 520, "test": 2100, "heldout": 525, "paraphrased": 2100}


def prompts(split: str) -> list[str]:
    return [question.messages[0].content for question in read_questions(f"bundled:{split}")]


def groups(split: str) -> list[str]:
    return [str(question.group) for question in read_questions(f"bundled:{split}")]


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tool's own module of the task, which says what is held out."""
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("tiny_pair.task")


def test_the_sets_are_disjoint_and_of_stated_sizes() -> None:
    asked = {split: prompts(split) for split in BUNDLED_SPLITS}
    assert {split: len(texts) for split, texts in asked.items()} == SIZES
    assert len({text for texts in asked.values() for text in texts}) == sum(SIZES.values())
    assert read_questions("bundled") == read_questions("bundled:test")


def test_no_question_was_trained_on_and_every_answer_is_the_tasks(task: Any) -> None:
    for split in BUNDLED_SPLITS:
        for question in read_questions(f"bundled:{split}"):
            asked = task.Asked(question.group, question.messages[0].content.replace(task.SEPARATOR, ""))
            assert task.held_out(asked)
            assert question.answer == asked.answer
            assert question.kind == "exact"


def test_every_first_part_of_a_set_has_its_groups_evenly() -> None:
    for split in BUNDLED_SPLITS:
        of_each = Counter(groups(split))
        turn = len(of_each)
        assert set(of_each.values()) == {SIZES[split] // turn}
        assert set(Counter(groups(split)[: 5 * turn]).values()) == {5}


def test_the_held_out_family_is_a_skill_that_no_other_set_asks() -> None:
    skills = {split: {group.partition("-")[0] for group in groups(split)} for split in BUNDLED_SPLITS}
    assert skills["heldout"] == {"second"}
    for split in ("train", "validation", "test", "paraphrased"):
        assert "second" not in skills[split]
    assert set(groups("train")) == set(groups("validation")) == set(groups("test"))


def test_a_paraphrase_has_the_answer_and_group_of_the_test_question_that_its_id_names() -> None:
    plain = {question.id: question for question in read_questions("bundled:test")}
    others = read_questions("bundled:paraphrased")
    for other in others:
        question = plain.pop(other.id.removesuffix("-p"))
        assert other.id.endswith("-p")
        assert (other.answer, other.group) == (question.answer, question.group)
        assert other.messages[0].content != question.messages[0].content
    assert not plain


def test_the_short_file_is_the_beginning_of_the_test_questions() -> None:
    short = read_questions(str(bundled_questions()))
    test = read_questions("bundled:test")[: len(short)]
    assert [(q.messages, q.answer, q.group) for q in short] == [(q.messages, q.answer, q.group) for q in test]


def test_a_fresh_run_of_the_tool_writes_the_same_bytes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, TOOLS / "write_questions.py", "--output", tmp_path], check=True)
    for split in BUNDLED_SPLITS:
        assert (tmp_path / f"{split}.jsonl").read_bytes() == bundled_split(split).read_bytes()
    assert (tmp_path / "questions.jsonl").read_bytes() == bundled_questions().read_bytes()
    subprocess.run(
        [sys.executable, TOOLS / "write_questions.py", "--output", tmp_path, "--seed", "1"], check=True
    )
    assert (tmp_path / "test.jsonl").read_bytes() != bundled_split("test").read_bytes()


def test_another_set_is_refused_with_those_there_are() -> None:
    known = "train, validation, test, heldout, paraphrased"
    with pytest.raises(InputRefused, match=rf"bundled:tests is not a bundled question set .*{known}"):
        read_questions("bundled:tests")
