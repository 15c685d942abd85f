"""The model card: metadata that the Hub reads, both parents, the exact recipe; always the same bytes."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from dami_merge.grid.card import model_card
from dami_merge.grid.plan import GridPlan
from tests.checkpoints import CONFIG, write_json
from tests.grid.grids import THREE, member_at, plan_of

LAM = Fraction(3, 10)


@pytest.fixture
def plan(pair_folders: tuple[Path, Path], tmp_path: Path) -> GridPlan:
    return plan_of(pair_folders, tmp_path / "grid", lambdas=THREE)


def card(plan: GridPlan, lam: Fraction = LAM) -> str:
    return model_card(plan, replace(member_at(plan, lam), served_model_name="toy-lambda")).decode()


def front_matter(text: str) -> object:
    empty, front, _ = text.split("---\n", 2)
    assert empty == ""
    return yaml.safe_load(front)


def test_the_front_matter_names_both_parents_as_a_merge(plan: GridPlan) -> None:
    assert front_matter(card(plan)) == {
        "base_model": ["toy-instruct", "toy-thinking"],
        "base_model_relation": "merge",
        "library_name": "transformers",
        "tags": ["merge", "dami-merge", "model-interpolation"],
    }


@pytest.mark.parametrize("name", ['quote " and \\', "colon: and # hash", "- dash", "emoji 🦙 λ", "{brace}"])
def test_the_front_matter_survives_any_name_of_a_folder(name: str, plan: GridPlan) -> None:
    side = replace(plan.pair.instruct, source_id=name)
    named = replace(plan, pair=replace(plan.pair, instruct=side))
    found = front_matter(card(named))
    assert isinstance(found, dict)
    assert found["base_model"] == [name, "toy-thinking"]


def test_the_recipe_in_the_card_is_exact(plan: GridPlan) -> None:
    side = replace(plan.pair.thinking, source_id="org/thinking", revision="0123abc")
    pinned = replace(plan, pair=replace(plan.pair, thinking=side, allowed=("rope_theta",)))
    text = card(pinned)
    assert json.loads(text.split("```json\n")[1].split("```")[0]) == {
        "instruct": "toy-instruct",
        "instruct_revision": "",
        "thinking": "org/thinking",
        "thinking_revision": "0123abc",
        "lambda": "3/10",
        "dtype": None,
        "donor": "thinking",
        "allowed_differences": ["rope_theta"],
    }
    assert "- Instruct (System 1, λ = 0): `toy-instruct`\n" in text
    assert "- Thinking (System 2, λ = 1): `org/thinking` at revision `0123abc`\n" in text


def test_the_formula_is_stated_with_the_integers_that_were_used(plan: GridPlan) -> None:
    assert "`(7·instruct + 3·thinking) / 10`, rounded once" in card(plan)
    assert "`(2·instruct + 1·thinking) / 3`" in card(plan, Fraction(1, 3))
    assert "at λ = 1/3 (1of3) between" in card(plan, Fraction(1, 3))


def test_the_ends_are_said_to_be_copies(plan: GridPlan) -> None:
    assert "Every tensor is a copy of that side's. Tokenizer" in card(plan, Fraction(0))
    assert "Every tensor is a copy of that side's. Tokenizer" in card(plan, Fraction(1))
    assert "copy" not in card(plan)


def test_the_donor_is_named(plan: GridPlan) -> None:
    assert "are the Instruct side's, byte for byte" in card(plan, Fraction(0))
    assert "are the Thinking side's, byte for byte" in card(plan, Fraction(1))


def test_the_card_is_the_same_bytes_from_another_place(
    plan: GridPlan, pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for folder in pair_folders:
        folder.rename(moved / folder.name)
    other = plan_of((moved / "toy-instruct", moved / "toy-thinking"), tmp_path / "grid-2", lambdas=THREE)
    for lam in THREE:
        assert card(other, lam) == card(plan, lam)
    assert str(tmp_path) not in card(plan)


def test_the_sides_are_named_by_folder_and_never_by_path(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    for folder in pair_folders:
        write_json(folder / "config.json", dict(CONFIG) | {"_name_or_path": str(tmp_path / "secret")})
    assert str(tmp_path) not in card(plan_of(pair_folders, tmp_path / "grid"))


def test_a_vision_language_model_is_loaded_by_its_own_class(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    for folder in pair_folders:
        write_json(folder / "config.json", {**CONFIG, "vision_config": {"depth": 2}})
    text = card(plan_of(pair_folders, tmp_path / "grid", lambdas=THREE))
    assert "model = AutoModelForImageTextToText.from_pretrained" in text
    assert "AutoModelForCausalLM" not in text
