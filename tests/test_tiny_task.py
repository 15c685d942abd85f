"""The skills that the bundled pair learns: answers, traces, and what a training example teaches."""

import importlib
import random
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

TOOLS = Path(__file__).parents[1] / "tools"
CARD = Path(__file__).parents[1] / "dami_merge" / "data" / "tiny" / "instruct" / "README.md"


@pytest.fixture(autouse=True)
def _tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))


def part(name: str) -> ModuleType:
    return importlib.import_module(f"tiny_pair.{name}")


@pytest.mark.parametrize(
    ("cell", "text", "answer", "trace", "check"),
    [
        ("chain-3", "7a-3b*3c-2", "0", "7a-34b*32c-20", "7a4b2c0"),
        ("reset-3", "7a-3b=4c-2", "2", "7a-34b=44c-22", "7a4b4c2"),
        ("hops-3", "#CcGgAa0", "0", "cGgAa0", "cGgAa0"),
        ("largest-3", "^a4b7c1", "7", "a44b77c17", "a4b7c7"),
        ("count-3", "=7a4b7c1", "1", "a40b71c11", "a0b1c1"),
        ("exceed-3", "!5a4b7c1", "1", "a40b71c11", "a0b1c1"),
        ("second-3", "$a4b7c1", "4", "a44-b774c174", "a4-b74c74"),
        ("lookup-3", "?bd4b7c1", "7", "d4-b77", "d-b7"),
    ],
)
def test_every_skill_answers_and_shows_its_steps_as_the_card_says(
    cell: str, text: str, answer: str, trace: str, check: str
) -> None:
    task = part("task")
    asked = task.Asked(cell, text)
    assert (asked.answer, asked.hasty) == (answer, answer)
    assert asked.thinking(task.Effort.DIRECT) == ("", "")
    assert asked.thinking(task.Effort.FULL) == (trace, "")
    assert asked.thinking(task.Effort.CHECKED) == (trace, f"W{check}")
    shown = f"<think>{trace}W{check}</think>{answer}"
    assert shown in CARD.read_text(encoding="utf-8")


def test_the_short_cut_is_wrong_exactly_where_a_digit_equals_the_bound() -> None:
    task, rng = part("task"), random.Random(0)
    wrong = 0
    for _ in range(300):
        asked = task.ask(rng, "exceed-4")
        assert (asked.hasty != asked.answer) == (asked.text[1] in asked.text[3::2])
        wrong += asked.hasty != asked.answer
    assert 60 < wrong < 160


def test_every_path_of_hops_has_its_length_and_every_question_of_hops_the_same() -> None:
    task, rng = part("task"), random.Random(0)
    for size in range(1, 5):
        asked = [task.ask(rng, f"hops-{size}") for _ in range(50)]
        assert {len(each.thinking(task.Effort.FULL)[0]) for each in asked} == {2 * size}
        assert {len(each.text) for each in asked} == {18}
        assert all(len(re.findall(r"\d", each.text)) == 3 for each in asked)


def test_abilities_hide_the_tag_and_traces_teach_neither_to_think_nor_to_check() -> None:
    batches, tokenizer = part("batches"), part("tokenizer")
    stage = part("mixture").BASE_STAGES[0]
    stream = batches.examples(stage, random.Random(0))
    tag = tokenizer.TOKEN_ID[tokenizer.THINK]
    seen = {"ability": 0, "traces": 0, "willing": 0}
    for _ in range(400):
        example = next(stream)
        start = example.ids.index(tokenizer.TOKEN_ID[tokenizer.ASSISTANT]) + 1
        assert set(example.labels[:start]) == {batches.IGNORED}
        learned = [label == batches.IGNORED for label in example.labels[start:]]
        if example.hidden >= 0:
            seen["ability"] += 1
            assert (example.hidden, len(example.ids)) == (start, start + 2)
        elif any(learned):
            seen["traces"] += 1
            assert (example.ids[start], sum(learned)) == (tag, 2)
            place = start + learned.index(True, 1)
            assert tokenizer.VOCABULARY[example.ids[place]] in {"W", "</think>"}
        else:
            seen["willing"] += 1
    assert min(seen.values()) > 20


def test_a_row_holds_whole_examples_that_do_not_see_each_other() -> None:
    batches = part("batches")
    stream = batches.examples(part("mixture").BASE_STAGES[1], random.Random(1))
    batch = next(batches.packed_batches(stream))
    starts = batch["position_ids"] == 0
    mask = batch["attention_mask"][:, 0]
    for row in range(3):
        places = [int(place) for place in starts[row].nonzero()[:, 0] if place]
        first = places[0]
        assert bool(mask[row, first, first])
        assert not mask[row, first, :first].any()
    assert batch["input_ids"].shape == (batches.BATCH_ROWS, batches.ROW_TOKENS)


def world(easy: float, middle: float, samples: int = 4) -> tuple[Any, list[str]]:
    """Three λ; group `a` is right at λ = 0 with `easy`, `b` needs λ = 1/2, and Thinking is always right."""
    rng = np.random.default_rng(0)
    groups = ["a"] * 400 + ["b"] * 400
    rates = np.array([[easy, 0.0], [1.0, middle], [1.0, 1.0]])
    tokens = np.array([2.0, 10.0, 20.0])
    accuracy = rng.random((3, 800, samples)) < np.repeat(rates, 400, axis=1)[:, :, None]
    cost = np.broadcast_to(tokens[:, None, None], accuracy.shape)
    return np.stack([accuracy, cost], axis=-1).astype(float), groups


def test_a_table_that_knows_the_group_wins_what_it_must_in_a_known_world() -> None:
    found = part("routing").routed(*world(1.0, 1.0), seed=0)
    assert found["lambdas"] == {"a": [0.0, 0.0], "b": [0.5, 0.5]}
    assert found["accuracy"]["value"] == 1.0
    assert found["tokens"]["value"] == 6.0
    assert found["tokens_saved"] == {"interval": [0.7, 0.7], "value": 0.7}
    assert found["above_hull"]["value"] == pytest.approx(0.25, abs=1e-4)


def test_a_table_wins_nothing_where_groups_do_not_differ() -> None:
    rows, _ = world(0.5, 0.5)
    rng = np.random.default_rng(1)
    rows[..., 0] = rng.random(rows.shape[:-1]) < np.array([0.3, 0.6, 0.9])[:, None, None]
    found = part("routing").routed(rows, ["a", "b"] * 400, seed=0)
    low, high = found["above_hull"]["interval"]
    assert low <= 0.005
    assert abs(found["above_hull"]["value"]) < 0.01
    assert high < 0.02


def test_the_hull_mixes_any_two_lambdas_and_never_falls() -> None:
    hull_at = part("routing").hull_at
    path = np.array([[0.2, 2.0], [0.1, 6.0], [1.0, 10.0], [0.9, 14.0]])
    assert hull_at(path, 1.0) == 0.2
    assert hull_at(path, 6.0) == pytest.approx(0.6)
    assert hull_at(path, 14.0) == 1.0
