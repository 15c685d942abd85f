"""Where the model of a λ is served, and under which name: templates, filled in. Knows nothing of HTTP."""

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
    """From λ to an endpoint.

    Example:
        >>> Endpoints("http://localhost:8000/v1", "qwen-{lambda}").of(Fraction(3, 10))
        Endpoint(base_url='http://localhost:8000/v1', model='qwen-0.30')
    """

    def __init__(self, base_url: str, model: str = "", *, grid: Path | None = None) -> None:
        """Check the templates.

        Args:
            base_url: Such as `http://localhost:8000/v1`; may hold fields.
            model: Likewise; empty is `{model}` with a grid. Fields are `{lambda}` (`0.30`) and `{name}`
                (`lambda-0.30`), and with a grid `{model}` (its served model name) and `{path}` (the
                checkpoint's absolute folder).
            grid: Folder of grid.json; a λ that it lacks is then refused.

        Raises:
            UsageError: The URL or a field is none, or every λ would be asked of the same model.
            GridUnreadable: There is no readable grid.json.
        """
        self._folder = grid
        self._grid: Grid | None = None if grid is None else read_grid(grid)
        if not model and grid is None:
            raise UsageError("a server has several models", hint="name the model of a λ, or give the grid")
        self._base_url = base_url
        self._model = model or "{model}"
        if not base_url.startswith(("http://", "https://")):
            raise UsageError(f"{base_url!r} is no URL of a server", hint="such as http://localhost:8000/v1")
        known = {*_OF_ANY_LAMBDA, *(_OF_A_GRID if grid is not None else ())}
        used = _fields(self._base_url) | _fields(self._model)
        if used - known:
            shown = ", ".join(f"{{{name}}}" for name in sorted(known))
            raise UsageError(f"{{{min(used - known)}}} is no field here", hint=f"there are {shown}")
        if not used:
            raise UsageError(
                f"every λ would be asked of the same model {model!r} at {base_url}",
                hint="put {lambda} or {name} into the model's name or into the URL",
            )

    def of(self, lam: Fraction) -> Endpoint:
        """The endpoint of a λ.

        Raises:
            LambdaError: The grid has no such λ.
        """
        values = {"lambda": label(lam), "name": folder_name(lam)}
        if self._grid is not None and self._folder is not None:
            member = member_of(self._grid, lam)
            folder = (self._folder / member.path).resolve()
            values |= {"model": member.served_model_name, "path": str(folder)}
        return Endpoint(self._base_url.format_map(values), self._model.format_map(values))

    def describe(self) -> dict[str, str]:
        """Model names as a template, and the weights of the grid by digest; no address, and no folder."""
        described = {"backend": "openai", "model": self._model}
        if self._grid is not None:
            described["weights"] = weights_digest(self._grid)
        return described


def _fields(template: str) -> set[str]:
    try:
        return {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}
    except ValueError as error:
        hint = "write {lambda}; a brace of its own is {{ or }}"
        raise UsageError(f"{template!r} is not a template: {error}", hint=hint) from error
