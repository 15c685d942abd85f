"""A recipe: the pair, the λ and what to write. YAML is plain data; an unknown field is an error."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Literal

import msgspec

from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING
from dami_merge.declared import check_fields, declared_as, parse_yaml
from dami_merge.dtypes import FLOAT_NAMES, FloatName, meant_float
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

    instruct: str | None = None
    thinking: str | None = None
    name: str = ""
    lambdas: list[str | float | int] | None = None
    steps: int | None = None
    dtype: FloatName | None = None
    donor: Side | None = None
    allow_config: list[str] = []
    allow_nonfinite: bool = False
    sampling: Sampling = Sampling()


def read_recipe(path: Path, *, models: tuple[str, str] | None = None) -> Recipe:
    """Read a recipe file.

    Relative model folders are resolved against the folder of the recipe.

    Args:
        path: The file.
        models: Instruct and Thinking, in place of those that the file names, if any.

    Raises:
        RecipeError: The file cannot be read or parsed, has an unknown, duplicate or wrongly typed field, or
            names no models.
        LambdaError: A λ in the file is invalid.
    """
    content = parse_yaml(path)
    _refuse_mergekit(content, path)
    _refuse_spelling(content, path)
    file = declared_as(_RecipeFile, content, path)
    instruct, thinking = models or _models(file, path)
    return Recipe(
        instruct=instruct,
        thinking=thinking,
        name=file.name,
        lambdas=_lambdas(file, path),
        dtype=file.dtype,
        donor=file.donor,
        allow_config=tuple(file.allow_config),
        allow_nonfinite=file.allow_nonfinite,
        sampling=file.sampling,
    )


def _models(file: _RecipeFile, path: Path) -> tuple[str, str]:
    if file.instruct is None or file.thinking is None:
        missing = [side for side in ("instruct", "thinking") if getattr(file, side) is None]
        lines = " and ".join(f"`{side}: org/name`" for side in missing)
        raise RecipeError(
            f"{path} does not name the model{'' if len(missing) == 1 else 's'} {' and '.join(missing)}",
            hint=f"add {lines} to it, or give both models on the command line: dami-merge grid INSTRUCT"
            f" THINKING --recipe {path}",
        )
    return _from_recipe_folder(file.instruct, path.parent), _from_recipe_folder(file.thinking, path.parent)


def _refuse_mergekit(content: object, path: Path) -> None:
    """Refuse a file of mergekit, which people have for the same two models."""
    if not isinstance(content, dict) or not content.keys() & {"merge_method", "slices", "models"}:
        return
    entries = content.get("models")
    models = [
        str(entry["model"])
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and "model" in entry
    ]
    named = f"{models[0]} and {models[1]}" if len(models) == 2 else "the Instruct and the Thinking model"
    raise RecipeError(
        f"{path} is a recipe of mergekit (merge_method: {content.get('merge_method')})",
        hint=f"write a recipe of `instruct:` and `thinking:` with {named}, or give both on the command line:"
        " every λ between them is built, as mergekit's linear method would with weights 1-λ and λ",
    )


def _refuse_spelling(content: object, path: Path) -> None:
    """Refuse a dtype in the spelling of another program, with ours."""
    dtype = content.get("dtype") if isinstance(content, dict) else None
    meant = meant_float(dtype) if isinstance(dtype, str) and dtype not in FLOAT_NAMES else None
    if meant:
        raise RecipeError(f"{path}: the dtype {dtype!r} is not known", hint=f"write `dtype: {meant}`")


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
