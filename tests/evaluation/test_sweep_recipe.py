"""A sweep as a file: what is read, what is refused, what goes over what."""

from fractions import Fraction
from pathlib import Path

import pytest

from dami_merge.errors import LambdaError, RecipeError
from dami_merge.evaluation.sweep_recipe import SweepRecipe, over, read_sweep_recipe
from dami_merge.sampling import SamplingSettings

RECIPES = Path(__file__).parent.parent.parent / "recipes"


def _read(tmp_path: Path, text: str) -> SweepRecipe:
    file = tmp_path / "sweep.yaml"
    file.write_text(text, encoding="utf-8")
    return read_sweep_recipe(file)


def test_what_is_not_named_is_left_open(tmp_path: Path) -> None:
    recipe = _read(tmp_path, "samples: 8\n")
    assert recipe == SweepRecipe(samples=8)
    assert recipe.exact_lambdas() is None
    own = SamplingSettings(temperature=0.1, max_tokens=5)
    assert recipe.settings(own) == own


def test_lambdas_are_exact_and_sorted(tmp_path: Path) -> None:
    recipe = _read(tmp_path, "lambdas: [1, 0.3, 1/3]\n")
    assert recipe.exact_lambdas() == (Fraction(3, 10), Fraction(1, 3), Fraction(1))


def test_zero_is_a_value_and_goes_over_the_recipe(tmp_path: Path) -> None:
    recipe = _read(tmp_path, "temperature: 0.7\ntop_k: 20\nseed: 3\nsamples: 2\n")
    sampling = over(SweepRecipe(temperature=0, top_k=0, seed=0), recipe).settings(SamplingSettings())
    assert (sampling.temperature, sampling.top_k, sampling.seed) == (0, 0, 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("temprature: 0.7\n", "unknown field `temprature`"),
        ("samples: 0\n", "Expected `int` >= 1"),
        ("top_p: 0\n", "Expected `float` > 0"),
        ("top_p: 1.5\n", "Expected `float` <= 1"),
        ("temperature: hot\n", "Expected `float | null`, got `str`"),
        ("seed: 1\nseed: 2\n", "seed"),
        ("questions: [\n", "is not valid YAML"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=r"sweep\.yaml") as no:
        _read(tmp_path, text)
    assert words in str(no.value)


def test_a_lambda_that_is_none_is_refused_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(LambdaError, match=r"sweep\.yaml: λ = 1\.5 is outside"):
        _read(tmp_path, "lambdas: [0, 1.5]\n")


def test_the_shipped_recipe_is_that_of_the_published_table() -> None:
    recipe = read_sweep_recipe(RECIPES / "sweep-qwen3-4b-2507.yaml")
    assert recipe.samples == 64
    assert recipe.exact_lambdas() == tuple(Fraction(n, 10) for n in (0, 2, 4, 5, 6, 8, 10))
    assert recipe.settings(SamplingSettings()) == SamplingSettings()
