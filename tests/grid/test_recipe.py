"""Recipes: YAML is data, every field is checked, and nothing is guessed."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dami_merge.errors import LambdaError, RecipeError
from dami_merge.grid.recipe import Recipe, bundled_recipe, read_recipe
from dami_merge.lambdas import even_grid
from dami_merge.sampling import Sampling

SIDES = "instruct: org/instruct\nthinking: org/thinking\n"


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    return tmp_path / "recipe.yaml"


def read(path: Path, text: str) -> Recipe:
    path.write_text(text, encoding="utf-8")
    return read_recipe(path)


def test_two_sides_are_enough_and_give_the_default_grid(recipe_file: Path) -> None:
    recipe = read(recipe_file, SIDES)
    assert recipe == Recipe(instruct="org/instruct", thinking="org/thinking")
    assert recipe.lambdas == tuple(Fraction(k, 10) for k in range(11))
    assert (recipe.dtype, recipe.donor, recipe.allow_nonfinite) == (None, None, False)


def test_every_field_is_read(recipe_file: Path) -> None:
    text = SIDES + (
        "name: Merged-1.0\nlambdas: [0, 1]\ndtype: float16\ndonor: instruct\nallow_config: [rope_theta]\n"
        "allow_nonfinite: true\n"
        "sampling: {temperature: 0.6, top_p: 0.95, top_k: 20, max_new_tokens: 32768}\n"
    )
    assert read(recipe_file, text) == Recipe(
        instruct="org/instruct",
        thinking="org/thinking",
        name="Merged-1.0",
        lambdas=(Fraction(0), Fraction(1)),
        dtype="float16",
        donor="instruct",
        allow_config=("rope_theta",),
        allow_nonfinite=True,
        sampling=Sampling(temperature=0.6, top_p=0.95, top_k=20, max_tokens=32768),
    )


def test_lambdas_are_exact_however_they_are_written_and_come_sorted(recipe_file: Path) -> None:
    recipe = read(recipe_file, SIDES + 'lambdas: [1, 0.3, "1/4", "0.10", 7e-1, 0]\n')
    assert recipe.lambdas == tuple(map(Fraction, ("0", "1/10", "1/4", "3/10", "7/10", "1")))


def test_steps_make_an_even_grid(recipe_file: Path) -> None:
    assert read(recipe_file, SIDES + "steps: 4\n").lambdas == even_grid(4)


def test_lambdas_and_steps_together_are_refused(recipe_file: Path) -> None:
    with pytest.raises(RecipeError, match="`lambdas` and `steps` exclude each other"):
        read(recipe_file, SIDES + "steps: 4\nlambdas: [0, 1]\n")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lambdas: []", "the grid has no λ"),
        ("lambdas: [1.5]", r"λ = 1\.5 is outside \[0, 1\]"),
        ("lambdas: [0.5, 1/2]", "duplicate λ = 0.50"),
        ("lambdas: [a half]", "λ = 'a half' is not a number"),
        ("lambdas: [.nan]", "is not a number"),
        ("lambdas: [0.00001]", "finer than 1/4096"),
        ("steps: 0", "the number of steps must be from 1 to 4096, not 0"),
    ],
)
def test_a_lambda_that_is_none_is_refused_with_the_file(line: str, message: str, recipe_file: Path) -> None:
    with pytest.raises(LambdaError, match=rf"recipe\.yaml: .*{message}"):
        read(recipe_file, f"{SIDES}{line}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SIDES + "lamdas: [0]\n", "unknown field `lamdas`"),
        (SIDES + "sampling: {temp: 1}\n", r"unknown field `temp` - at `\$\.sampling`"),
        (SIDES + "dtype: int8\n", "Invalid enum value 'int8'"),
        (SIDES + "dtype: 16\n", r"`\$\.dtype`"),
        (SIDES + "donor: both\n", "Invalid enum value 'both'"),
        (SIDES + "steps: many\n", "Expected `int | null`, got `str`"),
        (SIDES + "steps: true\n", "Expected `int | null`, got `bool`"),
        (SIDES + "lambdas: 0.5\n", "Expected `array | null`, got `float`"),
        (SIDES + "lambdas: [true]\n", "got `bool`"),
        (SIDES + "lambdas: [2026-11-21]\n", r"`\$\.lambdas\[0\]`"),
        (SIDES + "allow_config: rope_theta\n", "Expected `array`, got `str`"),
        (SIDES + "allow_nonfinite: 1\n", "Expected `bool`, got `int`"),
        ("instruct: 1\nthinking: 2\n", "Expected `str | null`, got `int`"),
        ("- instruct\n", "Expected `object`, got `array`"),
        ("", "Expected `object`, got `null`"),
    ],
)
def test_an_unknown_or_wrongly_typed_field_is_refused(text: str, message: str, recipe_file: Path) -> None:
    with pytest.raises(RecipeError, match=message.replace("|", r"\|")) as caught:
        read(recipe_file, text)
    assert caught.value.hint.startswith(
        "the known fields are instruct, thinking, name, lambdas, steps, dtype"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SIDES + "name: x\nname: y\n", "duplicate field 'name'"),
        (SIDES + "sampling: {top_k: 1, top_k: 2}\n", "duplicate field 'top_k'"),
        ("instruct: [", "is not valid YAML"),
        ("instruct: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("? [a]\n: b\n", "is not valid YAML"),
        ("instruct: \x00\n", "is not valid YAML"),
    ],
)
def test_what_is_not_plain_yaml_or_says_a_thing_twice_is_refused(
    text: str, message: str, recipe_file: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        read(recipe_file, text)


def test_bytes_that_are_no_text_are_refused(recipe_file: Path) -> None:
    recipe_file.write_bytes(b"instruct: \xff\n")
    with pytest.raises(RecipeError, match="is not valid UTF-8"):
        read_recipe(recipe_file)


def test_a_recipe_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml: No such file"):
        read_recipe(tmp_path / "none.yaml")


def test_relative_folders_are_read_from_the_recipes_folder_and_the_rest_is_kept(
    recipe_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    recipe = read(recipe_file, "instruct: models/mine\nthinking: models/theirs\n")
    assert Path(recipe.instruct) == tmp_path / "models" / "mine"
    assert recipe.thinking == "models/theirs"


def test_an_absolute_folder_stays_itself(recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    recipe = read(recipe_file, f"instruct: {tmp_path / 'mine'}\nthinking: bundled:tiny/thinking\n")
    assert recipe.instruct == str(tmp_path / "mine")
    assert recipe.thinking == "bundled:tiny/thinking"


@pytest.mark.parametrize("name", ["two words", "org/name", "λ", "a\n"])
def test_a_name_that_no_server_could_serve_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="is not valid in a model name"):
        Recipe(instruct="a", thinking="b", name=name)


def test_the_donor_is_instruct_at_zero_and_thinking_above_unless_it_is_named() -> None:
    recipe = bundled_recipe()
    assert [recipe.donor_of(Fraction(k, 2)) for k in range(3)] == ["instruct", "thinking", "thinking"]
    named = Recipe(instruct="a", thinking="b", donor="instruct")
    assert [named.donor_of(Fraction(k, 2)) for k in range(3)] == ["instruct"] * 3


def test_a_dotted_path_is_always_the_recipes_own(recipe_file: Path) -> None:
    recipe = read(recipe_file, "instruct: ./none\nthinking: ../neither\n")
    assert recipe.instruct == str(recipe_file.parent / "none")
    assert recipe.thinking == str(recipe_file.parent / "../neither")


@pytest.mark.parametrize("spec", ["~nobody-here/x", "x" * 5000])
def test_what_cannot_be_a_path_is_left_for_the_opening_to_refuse(spec: str, recipe_file: Path) -> None:
    assert read(recipe_file, f"instruct: {spec}\nthinking: org/thinking\n").instruct == spec


def test_lambdas_are_exact_and_sorted_in_python_too() -> None:
    given: Any = [1, 0.3, "1/8", Fraction(1, 3)]
    recipe = Recipe(instruct="a", thinking="b", lambdas=given, allow_config=["rope_theta"])  # type: ignore[arg-type] # a list becomes a tuple
    assert recipe.lambdas == (Fraction(1, 8), Fraction(3, 10), Fraction(1, 3), Fraction(1))
    assert recipe.allow_config == ("rope_theta",)
    assert hash(recipe) == hash(Recipe(**msgspec.structs.asdict(recipe)))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("lambdas", [2], "λ = 2 is outside"),
        ("lambdas", [], "the grid has no λ"),
        ("lambdas", [0.5, "1/2"], "duplicate λ = 0.50"),
        ("lambdas", ["a"], "λ = 'a' is not a number"),
        ("dtype", "int8", "dtype: Invalid enum value 'int8'"),
        ("donor", "base", "donor: Invalid enum value 'base'"),
        ("allow_nonfinite", "yes", "allow_nonfinite: Expected `bool`, got `str`"),
        ("instruct", 3, "instruct: Expected `str`, got `int`"),
    ],
)
def test_what_no_file_may_hold_is_refused_in_python_too(field: str, value: object, message: str) -> None:
    values: dict[str, Any] = {"instruct": "a", "thinking": "b", field: value}
    with pytest.raises((LambdaError, RecipeError), match=f"^{message}"):
        Recipe(**values)


@pytest.mark.parametrize(
    ("text", "missing", "hint"),
    [
        (
            "steps: 2\n",
            "models instruct and thinking",
            "add `instruct: org/name` and `thinking: org/name` to it",
        ),
        ("instruct: a\n", "model thinking", "add `thinking: org/name` to it"),
        ("thinking: a\ninstruct: null\n", "model instruct", "add `instruct: org/name` to it"),
    ],
)
def test_a_recipe_without_models_needs_them_on_the_command_line(
    text: str, missing: str, hint: str, recipe_file: Path
) -> None:
    with pytest.raises(RecipeError, match=rf"recipe\.yaml does not name the {missing}$") as caught:
        read(recipe_file, text)
    assert caught.value.hint.startswith(hint)
    assert caught.value.hint.endswith(f"dami-merge grid INSTRUCT THINKING --recipe {recipe_file}")
    recipe = read_recipe(recipe_file, models=("i", "t"))
    assert (recipe.instruct, recipe.thinking) == ("i", "t")


MERGEKIT = """
models:
  - model: org/instruct
    parameters: {weight: 0.5}
  - model: org/thinking
    parameters: {weight: 0.5}
merge_method: linear
dtype: bfloat16
"""


@pytest.mark.parametrize(
    ("text", "method", "named"),
    [
        (MERGEKIT, "linear", "org/instruct and org/thinking"),
        ("slices: []\nmerge_method: slerp\nbase_model: x\n", "slerp", "the Instruct and the Thinking model"),
        ("models: [a, {model: b}]\n", "None", "the Instruct and the Thinking model"),
        ("models: 3\n", "None", "the Instruct and the Thinking model"),
    ],
)
def test_a_recipe_of_mergekit_is_called_that_with_the_way_to_write_it(
    text: str, method: str, named: str, recipe_file: Path
) -> None:
    with pytest.raises(RecipeError, match=rf"is a recipe of mergekit \(merge_method: {method}\)") as caught:
        read(recipe_file, text)
    assert caught.value.hint.startswith(
        f"write a recipe of `instruct:` and `thinking:` with {named}, or give"
    )


@pytest.mark.parametrize(
    ("spelling", "meant"),
    [
        ("fp16", "float16"), ("half", "float16"), ("torch.float16", "float16"), ("bf16", "bfloat16"),
        ("BFloat16", "bfloat16"), ("float", "float32"), ("fp32", "float32"), ("double", "float64"),
    ],
)  # fmt: skip
def test_a_dtype_in_another_spelling_is_refused_with_ours(
    spelling: str, meant: str, recipe_file: Path
) -> None:
    with pytest.raises(RecipeError, match=f"the dtype '{re.escape(spelling)}' is not known") as caught:
        read(recipe_file, f"{SIDES}dtype: {spelling}\n")
    assert caught.value.hint == f"write `dtype: {meant}`"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[\n" * 5000, "is nested too deeply"),
        ("a: " + "{b:\n" * 5000, "is nested too deeply"),
        ("a: 2020-13-45", "is not valid YAML: month must be"),
        ("a: !!timestamp abc", "is not valid YAML"),
        ("a: !!bool maybe", "is not valid YAML"),
        ("!!map [1]", "is not valid YAML"),
        ("steps: " + "9" * 5000, "is not valid YAML: Exceeds the limit"),
        ("&a [*a]", "Expected `object`, got `array`"),
        (SIDES + 'allow_config: ["\\ud800"]', r"it holds U\+D800, half of a surrogate pair"),
    ],
)
def test_hostile_yaml_is_refused_in_words(text: str, message: str, recipe_file: Path) -> None:
    with pytest.raises(RecipeError, match=rf"recipe\.yaml:? {message}"):
        read(recipe_file, text)
