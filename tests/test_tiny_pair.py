"""The bundled pair is what its table, its cards and the README say it is."""

import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

import dami_merge
from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING
from dami_merge.checkpoint.pair import join
from dami_merge.checkpoint.source import open_both
from dami_merge.grid.build import build_grid
from dami_merge.grid.planning import make_plan
from dami_merge.grid.recipe import bundled_recipe, read_recipe
from dami_merge.lambdas import even_grid, folder_name
from tests.pairs import weights_of

ROOT = Path(__file__).parent.parent
TINY = Path(dami_merge.__file__).parent / "data" / "tiny"
TABLE: dict[str, Any] = json.loads((TINY / "lambda_table.json").read_text(encoding="utf-8"))
ROWS: list[dict[str, Any]] = TABLE["rows"]


def test_the_table_was_measured_on_these_weights() -> None:
    for side, digest in TABLE["sha256"].items():
        assert hashlib.sha256((TINY / side / "model.safetensors").read_bytes()).hexdigest() == digest


def test_accuracy_and_tokens_rise_with_lambda_and_never_jump() -> None:
    """At the end, accuracy may fall by less than a standard error: Thinking loses some easy questions."""
    assert [row["lambda"] for row in ROWS] == [k / 10 for k in range(11)]
    for before, after in pairwise(row["sampled"] for row in ROWS):
        least = 0 if before["accuracy"] < 0.99 else -after["accuracy_standard_error"]
        assert least < after["accuracy"] - before["accuracy"] < 0.13
        assert 0 < after["tokens"] - before["tokens"] < 6


def test_a_table_that_knows_the_group_is_as_good_as_thinking_for_a_third_less_and_above_every_mixture() -> (
    None
):
    found = TABLE["routed_by_group"]
    assert found["accuracy_change"]["interval"][0] >= -0.005
    assert found["tokens_saved"]["interval"][0] >= 0.35
    assert found["above_hull"]["interval"][0] >= 0.04
    assert TABLE["layer_cosine_min"] > 0.99
    assert TABLE["questions"] >= 2000


def test_another_seed_of_the_script_is_worth_routing_too_although_it_knows_less() -> None:
    other = TABLE["other_seed"]
    found = other["routed_by_group"]
    assert other["training"]["seed"] != TABLE["training"]["seed"]
    assert other["questions"] == TABLE["questions"]
    assert other["layer_cosine_min"] > 0.99
    assert found["accuracy_change"]["value"] >= -0.005
    assert found["tokens_saved"]["value"] >= 0.35
    assert found["above_hull"]["value"] >= 0.04
    for before, after in pairwise(row["sampled"]["accuracy"] for row in other["rows"]):
        assert after - before < 0.13


def test_some_groups_are_served_best_by_a_lambda_in_the_middle() -> None:
    chosen = TABLE["routed_by_group"]["lambdas"]
    middle = [group for group, lambdas in chosen.items() if all(0 < lam < 1 for lam in lambdas)]
    assert len(middle) >= 3
    assert sum(min(lambdas) == 0 for lambdas in chosen.values()) >= 3


def test_the_pair_passes_every_check_without_a_note_and_is_connected() -> None:
    pair = join(*open_both(BUNDLED_INSTRUCT, BUNDLED_THINKING))
    assert pair.notes == ()
    report = weights_of(pair.instruct, pair.thinking)
    assert report.connected
    assert report.worst_cosine == pytest.approx(TABLE["layer_cosine_min"], abs=1e-6)


def test_both_cards_show_the_measured_tables_of_both_seeds() -> None:
    for row in (*ROWS, *TABLE["other_seed"]["rows"]):
        sampled = row["sampled"]
        shown = rf"^\| {row['lambda']:.1f} \| {sampled['accuracy']:.3f} \| {sampled['tokens']:.1f} \| "
        for side in ("instruct", "thinking"):
            text = (TINY / side / "README.md").read_text(encoding="utf-8")
            assert re.search(shown, text, re.MULTILINE), shown


def test_the_recipe_of_the_bundled_pair_is_the_default() -> None:
    recipe = read_recipe(ROOT / "recipes" / "tiny.yaml")
    default = bundled_recipe()
    assert (recipe.instruct, recipe.thinking, recipe.lambdas, recipe.name, recipe.sampling) == (
        default.instruct, default.thinking, default.lambdas, default.name, default.sampling,
    )  # fmt: skip


def test_the_questions_have_distinct_ids_and_texts() -> None:
    lines = (TINY / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    assert len({question["id"] for question in questions}) == len(questions) == 200
    assert len({question["prompt"] for question in questions}) == 200
    assert all(re.fullmatch(r"\d", question["answer"]) for question in questions)


def _greedy_accuracy(folder: Path, questions: list[dict[str, str]]) -> float:
    """Share of right answers after the thinking block, through transformers alone."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    chats = [[{"role": "user", "content": question["prompt"]}] for question in questions]
    inputs: Any = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        tokens = model.generate(**inputs, do_sample=False, temperature=None, max_new_tokens=96)
    texts = tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    answers = [text.rpartition("</think>")[2].strip() for text in texts]
    right = [answer == question["answer"] for answer, question in zip(answers, questions, strict=True)]
    return float(sum(right) / len(right))


def test_the_checkpoints_of_the_grid_answer_as_well_as_the_table_says(tmp_path: Path) -> None:
    """Within four standard errors of a share of 200, or three answers where the share is near 1."""
    plan = make_plan(
        msgspec.structs.replace(bundled_recipe(), lambdas=even_grid(2)),
        join(*open_both(BUNDLED_INSTRUCT, BUNDLED_THINKING)),
        tmp_path / "grid",
    )
    lines = (TINY / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    build_grid(plan)
    for row, lam in zip(ROWS[::5], plan.lambdas, strict=True):
        expected = row["greedy"]["accuracy"]
        tolerance = max(4 * (expected * (1 - expected) / len(questions)) ** 0.5, 3 / len(questions))
        measured = _greedy_accuracy(tmp_path / "grid" / folder_name(lam), questions)
        assert measured == pytest.approx(expected, abs=tolerance)
