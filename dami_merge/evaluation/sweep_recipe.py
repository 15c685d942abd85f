"""A sweep as a file: which questions, which λ, how answers are sampled and graded. YAML is data."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated

import msgspec

from dami_merge.declared import read_yaml
from dami_merge.errors import LambdaError
from dami_merge.lambdas import ordered, parse_lambda
from dami_merge.sampling import Sampling, SamplingSettings

Count = Annotated[int, msgspec.Meta(ge=1)]


class SweepRecipe(Sampling, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a sweep does, with the sampling parameters; None leaves it to the grid, or to the default.

    Attributes:
        questions: As `read_questions` takes it; a relative file is read from where the command runs.
        format: One of its shapes.
        suffix: Ends every prompt that is not native.
        lambdas: λ as YAML scalars, `0`, `1/2`, `0.8`.
        limit: Take so many questions.
        samples: Answers for each question and λ.
        seed: Of everything random.
        grader: `module:function` or `file.py:function`.
    """

    questions: str | None = None
    format: str | None = None
    suffix: str | None = None
    lambdas: list[str | float | int] | None = None
    limit: Count | None = None
    samples: Count | None = None
    seed: int | None = None
    grader: str | None = None

    def exact_lambdas(self) -> tuple[Fraction, ...] | None:
        """Its λ, sorted; None if it names none.

        Raises:
            LambdaError: One is no λ, or is there twice.
        """
        return None if self.lambdas is None else ordered(map(parse_lambda, self.lambdas))

    def settings(self, own: SamplingSettings) -> SamplingSettings:
        """The sampling settings of a run: what this recipe states, over the models' own."""
        return own.changed(self, seed=self.seed)


def read_sweep_recipe(path: Path) -> SweepRecipe:
    """Read and check a file.

    Raises:
        RecipeError: It cannot be read or parsed, has an unknown or doubled field, or a wrong type or size.
        LambdaError: One of its λ is not one.
    """
    recipe = read_yaml(path, SweepRecipe, older={"max_tokens": "max_new_tokens"})
    try:
        recipe.exact_lambdas()
    except LambdaError as error:
        raise LambdaError(f"{path}: {error}", hint=error.hint) from error
    return recipe


def over(given: SweepRecipe, recipe: SweepRecipe) -> SweepRecipe:
    """What is given in place of what a recipe says; None is not given."""
    named = {name: getattr(given, name) for name in given.__struct_fields__}
    changes = {name: value for name, value in named.items() if value is not None}
    return msgspec.structs.replace(recipe, **changes)
