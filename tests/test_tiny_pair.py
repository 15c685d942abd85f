"""The bundled pair is what its table, its cards and the README say it is."""

import hashlib
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import dami_merge
from dami_merge.checkpoint.pair import join
from dami_merge.checkpoint.source import BUNDLED_INSTRUCT, BUNDLED_THINKING, open_both
from dami_merge.connectivity.report import check_lmc
from dami_merge.grid.recipe import bundled_recipe, read_recipe

ROOT = Path(__file__).parent.parent
TINY = Path(dami_merge.__file__).parent / "data" / "tiny"
TABLE: dict[str, Any] = json.loads((TINY / "lambda_table.json").read_text(encoding="utf-8"))
ROWS: list[dict[str, Any]] = TABLE["rows"]


def test_the_table_was_measured_on_these_weights() -> None:
    for side, digest in TABLE["sha256"].items():
        assert hashlib.sha256((TINY / side / "model.safetensors").read_bytes()).hexdigest() == digest


def test_accuracy_and_tokens_rise_with_every_step_of_lambda_and_never_jump() -> None:
    assert [row["lambda"] for row in ROWS] == [k / 10 for k in range(11)]
    for before, after in pairwise(row["sampled"] for row in ROWS):
        assert 0 < after["accuracy"] - before["accuracy"] < 0.15
        assert 0 < after["tokens"] - before["tokens"] < 6


def test_the_pair_passes_every_check_without_a_note_and_is_connected() -> None:
    pair = join(*open_both(BUNDLED_INSTRUCT, BUNDLED_THINKING))
    assert pair.notes == ()
    report = check_lmc(pair.instruct, pair.thinking)
    assert report.connected
    assert report.worst_cosine == pytest.approx(TABLE["layer_cosine_min"], abs=1e-6)


def test_the_readme_and_both_cards_show_the_measured_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for row in ROWS:
        sampled = row["sampled"]
        shown = rf"^\| {row['lambda']:.1f} \| {sampled['accuracy']:.3f} \| {sampled['tokens']:.1f} \| "
        for text in (readme, *((TINY / side / "README.md").read_text() for side in ("instruct", "thinking"))):
            assert re.search(shown, text, re.MULTILINE), shown


def test_the_recipe_of_the_bundled_pair_is_the_default() -> None:
    recipe = read_recipe(ROOT / "recipes" / "tiny.yaml")
    default = bundled_recipe()
    assert (recipe.instruct, recipe.thinking, recipe.lambdas, recipe.name) == (
        default.instruct, default.thinking, default.lambdas, default.name,
    )  # fmt: skip


def test_the_questions_have_distinct_ids_and_texts() -> None:
    lines = (TINY / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    assert len({question["id"] for question in questions}) == len(questions) == 200
    assert len({question["prompt"] for question in questions}) == 200
    assert all(re.fullmatch(r"\d", question["answer"]) for question in questions)
