"""A sweep as a YAML file: questions, λ, sampling and grader. The file is read as data only."""

from fractions import Fraction
from pathlib import Path
from typing import Annotated

import msgspec

from dami_merge.declared import check_fields, read_yaml
from dami_merge.errors import LambdaError
from dami_merge.lambdas import ordered, parse_lambda
from dami_merge.sampling import Sampling, SamplingSettings

Count = Annotated[int, msgspec.Meta(ge=1)]
Samples = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class SweepRecipe(Sampling, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Parameters of a sweep, including the sampling parameters; None means the grid's value, or the default.

    Attributes:
        questions: Source of the questions, see `read_questions`; relative paths start at the working
            directory.
        format: Format of the questions, one of `SHAPES`.
        suffix: Text appended to every prompt that is not native.
        lambdas: λ as YAML scalars: `0`, `1/2`, `0.8`.
        limit: Number of questions to use, from the start of the source.
        samples: Answers per question and λ.
        seed: Seed of every random draw, below 2^63.
        grader: `module:function` or `file.py:function`.
        grader_timeout: Seconds that the grader has for one answer.
        plan: File written by `dami-merge plan-rollouts`: only the answers that it names are generated.
    """

    questions: str | None = None
    format: str | None = None
    suffix: str | None = None
    lambdas: list[str | float | int] | None = None
    limit: Count | None = None
    samples: Samples | None = None
    seed: Seed | None = None
    grader: str | None = None
    grader_timeout: Seconds | None = None
    plan: str | None = None

    def __post_init__(self) -> None:
        """Refuse any value but λ that is of the wrong type or out of its range, with a RecipeError."""
        check_fields(self, apart={"lambdas"})

    def exact_lambdas(self) -> tuple[Fraction, ...] | None:
        """Return the λ, sorted; None if the recipe does not state any.

        Raises:
            LambdaError: A value is not a valid λ, or a λ is a duplicate.
        """
        return None if self.lambdas is None else ordered(map(parse_lambda, self.lambdas))

    def settings(self, own: SamplingSettings) -> SamplingSettings:
        """Return the sampling settings of a run: those of this recipe, over the models' own."""
        return own.changed(self, seed=self.seed)


def read_sweep_recipe(path: Path) -> SweepRecipe:
    """Read and check a recipe file.

    Raises:
        RecipeError: The file is unreadable or malformed, or a field is unknown, duplicate or invalid.
        LambdaError: A value is not a valid λ, or a λ is a duplicate.
    """
    recipe = read_yaml(path, SweepRecipe, older={"max_tokens": "max_new_tokens"})
    try:
        recipe.exact_lambdas()
    except LambdaError as error:
        raise LambdaError(f"{path}: {error}", hint=error.hint) from error
    return recipe


def over(given: SweepRecipe, recipe: SweepRecipe) -> SweepRecipe:
    """Override a recipe with the given parameters; None means not given."""
    named = {name: getattr(given, name) for name in given.__struct_fields__}
    changes = {name: value for name, value in named.items() if value is not None}
    return msgspec.structs.replace(recipe, **changes)
