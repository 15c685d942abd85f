"""Where the model of a λ is served, and under which name: fills in templates. Knows nothing about HTTP."""

import string
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from dami_merge.errors import UsageError
from dami_merge.grid.manifest import Grid, member_of, read_grid, weights_digest
from dami_merge.lambdas import folder_name, label

_OF_ANY_LAMBDA = ("lambda", "name")
_OF_A_GRID = ("model", "path")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One served model."""

    base_url: str
    model: str


class Endpoints:
    """Maps λ to an endpoint.

    Example:
        >>> Endpoints("http://localhost:8000/v1", "qwen-{lambda}").of(Fraction(3, 10))
        Endpoint(base_url='http://localhost:8000/v1', model='qwen-0.30')
    """

    def __init__(self, base_url: str, model: str = "", *, grid: Path | None = None) -> None:
        """Check the templates.

        Args:
            base_url: Template of the server's URL, such as `http://localhost:8000/v1`.
            model: Template of the model name; empty means `{model}`, which needs a grid. The fields of both
                templates are `{lambda}` (`0.30`) and `{name}` (`lambda-0.30`), and with a grid also
                `{model}` (the served model name) and `{path}` (the checkpoint's absolute folder).
            grid: Folder of grid.json; a λ that is not in the grid is then refused.

        Raises:
            UsageError: The URL is invalid, a template has an unknown field, no model is given, or every λ
                would use the same model.
            GridUnreadable: grid.json is missing, unreadable or malformed.
        """
        self._folder = grid
        self._grid: Grid | None = None if grid is None else read_grid(grid)
        if not model and grid is None:
            raise UsageError(
                "the model name is missing", hint="give a template such as qwen-{lambda}, or the grid"
            )
        self._base_url = base_url
        self._model = model or "{model}"
        if not base_url.startswith(("http://", "https://")):
            raise UsageError(
                f"{base_url!r} is not an HTTP URL", hint="give one such as http://localhost:8000/v1"
            )
        known = {*_OF_ANY_LAMBDA, *(_OF_A_GRID if grid is not None else ())}
        used = _fields(self._base_url) | _fields(self._model)
        if used - known:
            shown = ", ".join(f"{{{name}}}" for name in sorted(known))
            raise UsageError(f"{{{min(used - known)}}} is not a known template field", hint=f"use {shown}")
        if not used:
            raise UsageError(
                f"every λ would use the same model {model!r} at {base_url}",
                hint="put {lambda} or {name} into the model name or the URL",
            )

    def of(self, lam: Fraction) -> Endpoint:
        """Return the endpoint of a λ.

        Raises:
            LambdaError: The λ is not in the grid.
        """
        values = {"lambda": label(lam), "name": folder_name(lam)}
        if self._grid is not None and self._folder is not None:
            member = member_of(self._grid, lam)
            folder = (self._folder / member.path).resolve()
            values |= {"model": member.served_model_name, "path": str(folder)}
        return Endpoint(self._base_url.format_map(values), self._model.format_map(values))

    def describe(self) -> dict[str, str]:
        """Return the template of the model name and the digest of the grid's weights; no URL, no folder."""
        described = {"backend": "openai", "model": self._model}
        if self._grid is not None:
            described["weights"] = weights_digest(self._grid)
        return described


def _fields(template: str) -> set[str]:
    try:
        return {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}
    except ValueError as error:
        hint = "write a field as {lambda}, and a literal brace as {{ or }}"
        raise UsageError(f"{template!r} is not a valid template: {error}", hint=hint) from error
