"""Sampling parameters: declared once, in every file and every value that has them."""

import re
from pathlib import Path

import msgspec
import pytest

from dami_merge.cli.sweep import sweep_command
from dami_merge.errors import RecipeError
from dami_merge.evaluation import rollouts_file
from dami_merge.evaluation.rollouts_file import Settings, settings_of
from dami_merge.evaluation.sweep_recipe import SweepRecipe, read_sweep_recipe
from dami_merge.grid.manifest import RecipeRecord
from dami_merge.grid.recipe import Recipe, read_recipe
from dami_merge.sampling import FILE_NAMES, Sampling, SamplingSettings


def test_what_is_stated_replaces_a_parameter_and_what_is_not_keeps_it() -> None:
    own = SamplingSettings(temperature=0.7, top_p=0.8, seed=3)
    assert own.changed(Sampling()) == own
    assert own.changed(Sampling(temperature=0, top_k=0)) == SamplingSettings(
        temperature=0, top_p=0.8, top_k=0, seed=3
    )
    assert own.changed(Sampling(), seed=0).seed == 0


def test_every_parameter_may_be_stated_and_is_an_option_of_the_sweep_and_a_field_of_every_file() -> None:
    stated = set(Sampling.__struct_fields__)
    assert stated | {"seed"} == set(SamplingSettings.__struct_fields__)
    assert stated <= {parameter.name for parameter in sweep_command.params}
    assert stated <= set(SweepRecipe.__struct_fields__)
    assert set(SamplingSettings.__struct_fields__) <= set(Settings.__struct_fields__)
    assert {type(Recipe(instruct="a", thinking="b").sampling)} == {Sampling}
    assert RecipeRecord.__annotations__["sampling"] is Sampling


def test_both_recipes_call_the_cap_as_transformers_does_and_the_sweeps_older_name_still_works(
    tmp_path: Path,
) -> None:
    assert FILE_NAMES["max_new_tokens"] == "max_tokens"
    file = tmp_path / "s.yaml"
    for name in ("max_new_tokens", "max_tokens"):
        file.write_text(f"{name}: 5\n", encoding="utf-8")
        assert read_sweep_recipe(file) == SweepRecipe(max_tokens=5)
    file.write_text("max_new_tokens: 5\nmax_tokens: 6\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="unknown field `max_tokens`"):
        read_sweep_recipe(file)
    file.write_text("instruct: a\nthinking: b\nsampling: {max_new_tokens: 7}\n", encoding="utf-8")
    assert read_recipe(file).sampling == Sampling(max_tokens=7)


def test_the_digest_of_settings_is_that_of_the_first_release() -> None:
    """It stands in every line of every rollouts file, so that a change would orphan them."""
    settings = settings_of({"backend": "hf", "weights": "w"}, "default", SamplingSettings(max_tokens=96))
    assert settings.digest() == "27c1864134b21512"
    other = settings_of({"backend": "hf", "weights": "w"}, "default", SamplingSettings(max_tokens=97))
    assert other.digest() != settings.digest()


def test_a_parameter_of_a_later_release_changes_the_digest_only_where_it_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class LaterSampling(SamplingSettings, frozen=True, kw_only=True):
        min_p: float = 0.0

    class LaterSettings(Settings, frozen=True, kw_only=True):
        min_p: float = 0.0

    before = settings_of({}, "default", SamplingSettings())
    monkeypatch.setattr(rollouts_file, "SamplingSettings", LaterSampling)
    read_again = msgspec.json.decode(msgspec.json.encode(before), type=LaterSettings)
    assert read_again.digest() == before.digest()
    assert msgspec.structs.replace(read_again, min_p=0.1).digest() != before.digest()


@pytest.mark.parametrize("form", [Sampling, SweepRecipe])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", -1, "temperature: Expected `float` >= 0.0"),
        ("temperature", "hot", "temperature: Expected `float | null`, got `str`"),
        ("top_p", 0, "top_p: Expected `float` > 0.0"),
        ("top_p", 2, "top_p: Expected `float` <= 1.0"),
        ("top_k", 0.5, "top_k: Expected `int | null`, got `float`"),
        ("max_tokens", 0, "max_tokens: Expected `int` >= 1"),
    ],
)
def test_a_parameter_that_no_file_may_hold_is_refused_in_python_too(
    form: type[Sampling], name: str, value: object, message: str
) -> None:
    with pytest.raises(RecipeError, match=f"^{re.escape(message)}$"):
        form(**{name: value})  # type: ignore[arg-type] # wrong types are what is tested


@pytest.mark.parametrize(("name", "value"), [("limit", 0), ("samples", -1), ("seed", "x"), ("questions", 3)])
def test_other_fields_of_a_sweep_are_checked_in_python_too(name: str, value: object) -> None:
    with pytest.raises(RecipeError, match=f"^{name}: Expected "):
        SweepRecipe(**{name: value})  # type: ignore[arg-type] # wrong types are what is tested


def test_a_whole_number_and_its_float_are_one_setting() -> None:
    def digest(temperature: float) -> str:
        recipe = SweepRecipe(temperature=temperature, max_tokens=96)
        return settings_of({"backend": "x"}, "default", recipe.settings(SamplingSettings())).digest()

    assert digest(1) == digest(1.0) != digest(0.5)
