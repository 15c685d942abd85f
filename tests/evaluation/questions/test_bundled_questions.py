"""The bundled pair's three sets: disjoint, held out from its training, even, and made by the tool."""

import importlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dami_merge.bundled import BUNDLED_SPLITS, bundled_split
from dami_merge.errors import InputRefused
from dami_merge.evaluation.questions.importers import read_questions

TOOLS = Path(__file__).parents[3] / "tools"


def prompts(split: str) -> list[str]:
    return [question.messages[0].content for question in read_questions(f"bundled:{split}")]


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tool's own module of the task, which says what is held out."""
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("tiny_pair.task")


def test_the_sets_are_disjoint_and_of_stated_sizes() -> None:
    asked = {split: prompts(split) for split in BUNDLED_SPLITS}
    assert {split: len(texts) for split, texts in asked.items()} == {
        "train": 1008,
        "validation": 210,
        "test": 630,
    }
    assert len({text for texts in asked.values() for text in texts}) == 1008 + 210 + 630
    assert read_questions("bundled") == read_questions("bundled:test")


def test_no_question_was_trained_on_and_every_answer_is_the_tasks(task: Any) -> None:
    chain = task.ChainTask()
    for split in BUNDLED_SPLITS:
        for question in read_questions(f"bundled:{split}"):
            text = question.messages[0].content
            assert task.held_out(chain, text)
            assert (question.answer, question.group) == (chain.answer(text), str(chain.difficulty(text)))
            assert question.kind == "exact"


def test_every_first_part_of_a_set_has_its_groups_evenly() -> None:
    for split in BUNDLED_SPLITS:
        groups = [question.group for question in read_questions(f"bundled:{split}")]
        assert set(Counter(groups).values()) == {len(groups) // 7}
        assert set(Counter(groups[:70]).values()) == {10}


def test_a_fresh_run_of_the_tool_writes_the_same_bytes(tmp_path: Path) -> None:
    subprocess.run([sys.executable, TOOLS / "write_questions.py", "--output", tmp_path], check=True)
    for split in BUNDLED_SPLITS:
        assert (tmp_path / f"{split}.jsonl").read_bytes() == bundled_split(split).read_bytes()
    subprocess.run(
        [sys.executable, TOOLS / "write_questions.py", "--output", tmp_path, "--seed", "1"], check=True
    )
    assert (tmp_path / "test.jsonl").read_bytes() != bundled_split("test").read_bytes()


def test_another_set_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        InputRefused, match=r"bundled:tests is not a bundled question set .*train, validation, test"
    ):
        read_questions("bundled:tests")
