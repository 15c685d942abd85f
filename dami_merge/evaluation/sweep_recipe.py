"""A sweep as a file: which questions, which λ, how answers are sampled and graded. YAML is data."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated

import msgspec

from dami_merge.declared import read_yaml
from dami_merge.errors import LambdaError
from dami_merge.evaluation.generation import SamplingSettings
from dami_merge.lambdas import ordered, parse_lambda

Count = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class SweepRecipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `dami-merge sweep` can be told; None leaves it to the grid, or to the default.

    Attributes:
        questions: As `read_questions` takes it; a relative file is read from where the command runs.
        format: One of its shapes.
        suffix: Ends every prompt that is not native.
        lambdas: λ as YAML scalars, `0`, `1/2`, `0.8`.
        limit: Take so many questions.
        samples: Answers for each question and λ.
        temperature: 0 is greedy.
        top_p: In (0, 1].
        top_k: 0 is off.
        max_tokens: Cap of an answer.
        seed: Of everything random.
        grader: `module:function` or `file.py:function`.
    """

    questions: str | None = None
    format: str | None = None
    suffix: str | None = None
    lambdas: list[str | float | int] | None = None
    limit: Count | None = None
    samples: Count | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_tokens: Count | None = None
    seed: int | None = None
    grader: str | None = None

    def exact_lambdas(self) -> tuple[Fraction, ...] | None:
        """Its λ, sorted; None if it names none.

        Raises:
            LambdaError: One is no λ, or is there twice.
        """
        return None if self.lambdas is None else ordered(map(parse_lambda, self.lambdas))

    def sampling(self, own: SamplingSettings) -> SamplingSettings:
        """What it says of sampling, in place of the grid's own."""
        return own.changed(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            max_tokens=self.max_tokens,
            seed=self.seed,
            samples=self.samples,
        )


def read_sweep_recipe(path: Path) -> SweepRecipe:
    """Read and check a file.

    Raises:
        RecipeError: It cannot be read or parsed, has an unknown or doubled field, or a wrong type or size.
        LambdaError: One of its λ is not one.
    """
    recipe = read_yaml(path, SweepRecipe)
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
