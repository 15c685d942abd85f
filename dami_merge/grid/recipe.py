"""A recipe: the pair, the λ and what to write. YAML is plain data; an unknown field is an error."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Literal

import msgspec

from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING
from dami_merge.declared import check_fields, read_yaml
from dami_merge.dtypes import FloatName
from dami_merge.errors import LambdaError, RecipeError
from dami_merge.lambdas import DEFAULT_STEPS, even_grid, ordered, parse_lambda
from dami_merge.sampling import Sampling

Side = Literal["instruct", "thinking"]

_NAME = re.compile(r"[\w.-]*", re.ASCII)


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to build, before any model is opened.

    Attributes:
        instruct: Model at λ = 0: folder, Hub id or bundled side.
        thinking: Model at λ = 1: folder, Hub id or bundled side.
        name: Prefix of the served model names; empty uses the prefix that both models' names share.
        lambdas: The λ of the grid. Any order and any form that `parse_lambda` reads may be given; here they
            are exact and ascending.
        dtype: Dtype of the written float tensors; None keeps each tensor's own.
        donor: Side whose tokenizer, templates and config a checkpoint gets; None uses Instruct at λ = 0 and
            Thinking at every λ above it.
        allow_config: Fields that may differ although they change the forward pass or the tokens.
        allow_nonfinite: Interpolate NaN and Inf instead of refusing them.
        sampling: Sampling parameters, recorded for whoever serves the grid.
    """

    instruct: str
    thinking: str
    name: str = ""
    lambdas: tuple[Fraction, ...] = even_grid(DEFAULT_STEPS)
    dtype: FloatName | None = None
    donor: Side | None = None
    allow_config: tuple[str, ...] = ()
    allow_nonfinite: bool = False
    sampling: Sampling = Sampling()

    def __post_init__(self) -> None:
        """Read the λ exactly and sort them; refuse whatever a recipe file may not hold.

        Raises:
            LambdaError: A λ is invalid or a duplicate, or there is none.
            RecipeError: Another field is of the wrong type, or the name is not valid in a model name.
        """
        check_fields(self, apart={"lambdas"})
        msgspec.structs.force_setattr(self, "lambdas", ordered(map(parse_lambda, self.lambdas)))
        if not _NAME.fullmatch(self.name):
            raise RecipeError(
                f"the name {self.name!r} is not valid in a model name",
                hint="use only letters, digits, '.', '_' and '-'",
            )

    def donor_of(self, lam: Fraction) -> Side:
        """Return the side that provides the sidecars at this λ."""
        return self.donor or ("instruct" if lam == 0 else "thinking")


def bundled_recipe() -> Recipe:
    """Return the recipe for the pair that ships with the package."""
    return Recipe(
        instruct=BUNDLED_INSTRUCT,
        thinking=BUNDLED_THINKING,
        name="tiny",
        sampling=Sampling(temperature=0.6, max_tokens=96),
    )


class _RecipeFile(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Format of a recipe file: `lambdas` or `steps`, with λ as YAML scalars."""

    instruct: str
    thinking: str
    name: str = ""
    lambdas: list[str | float | int] | None = None
    steps: int | None = None
    dtype: FloatName | None = None
    donor: Side | None = None
    allow_config: list[str] = []
    allow_nonfinite: bool = False
    sampling: Sampling = Sampling()


def read_recipe(path: Path) -> Recipe:
    """Read a recipe file.

    Relative model folders are resolved against the folder of the recipe.

    Raises:
        RecipeError: The file cannot be read or parsed, or has an unknown, duplicate or wrongly typed field.
        LambdaError: A λ in the file is invalid.
    """
    file = read_yaml(path, _RecipeFile)
    return Recipe(
        instruct=_from_recipe_folder(file.instruct, path.parent),
        thinking=_from_recipe_folder(file.thinking, path.parent),
        name=file.name,
        lambdas=_lambdas(file, path),
        dtype=file.dtype,
        donor=file.donor,
        allow_config=tuple(file.allow_config),
        allow_nonfinite=file.allow_nonfinite,
        sampling=file.sampling,
    )


def _lambdas(file: _RecipeFile, path: Path) -> tuple[Fraction, ...]:
    if file.lambdas is not None and file.steps is not None:
        raise RecipeError(f"{path}: `lambdas` and `steps` exclude each other", hint="give only one of them")
    try:
        if file.lambdas is not None:
            return ordered(parse_lambda(value) for value in file.lambdas)
        return even_grid(DEFAULT_STEPS if file.steps is None else file.steps)
    except LambdaError as error:
        raise LambdaError(f"{path}: {error}", hint=error.hint) from error


def _from_recipe_folder(spec: str, folder: Path) -> str:
    if spec.startswith("~"):
        return spec
    local = folder / spec
    try:
        named = spec.startswith(("./", "../")) or local.is_dir()
    except (OSError, ValueError):  # a name too long, or with a NUL: opening the model reports it
        named = False
    return str(local) if named else spec
