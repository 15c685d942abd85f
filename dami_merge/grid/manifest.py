"""The format of grid.json, declared once: unknown fields are refused, and the JSON Schema is generated here.

Imports no torch: the router and every serving stack read grid.json.
"""

import math
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import msgspec

from dami_merge.declared import encode
from dami_merge.dtypes import FloatName
from dami_merge.errors import GridUnreadable, LambdaError
from dami_merge.files import digest_bytes, is_special, write_durable
from dami_merge.grid.recipe import Side
from dami_merge.lambdas import parse_lambda, require_available
from dami_merge.sampling import Sampling

GRID_FILE = "grid.json"
SCHEMA_VERSION: Literal[1] = 1

DigestText = Annotated[str, msgspec.Meta(pattern=r"^blake3:[0-9a-f]{64}$")]
Size = Annotated[int, msgspec.Meta(ge=0)]
LambdaText = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+/[1-9][0-9]*$")]


class Tool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The program that wrote the grid."""

    name: str
    version: str


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One parent model.

    Attributes:
        id: Hub id, or the folder name of a local model.
        revision: Commit on the Hub; empty for a local model.
        headers: Digest of the header of every weight file, by file name.
        tensors: For every output shard, digest of this parent's tensor bytes in the order of the shard.
    """

    id: str
    revision: str
    headers: dict[str, DigestText]
    tensors: dict[str, DigestText]


class RecipeRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The recipe, with every default filled in; the sources are recorded separately."""

    lambdas: list[LambdaText]
    dtype: FloatName | None
    donor: Side | None
    allow_config: list[str]
    allow_nonfinite: bool
    sampling: Sampling


class Inventory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tensors that every checkpoint holds.

    Attributes:
        tensors: Number of tensors.
        parameters: Number of elements in all tensors.
        digest: Digest of every shard's name and header; equal for checkpoints that a live engine can swap.
    """

    tensors: Size
    parameters: Size
    digest: DigestText


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a checkpoint."""

    name: str
    size: Size
    digest: DigestText


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One checkpoint of the grid.

    Attributes:
        fraction: λ as an exact fraction, such as `3/10`.
        value: λ as the nearest float, for readers that do not need the exact value.
        name: Name of the checkpoint, such as `lambda-0.30`.
        path: Folder of the checkpoint, relative to grid.json, with forward slashes.
        served_model_name: Model name that a server should use.
        donor: Side that the tokenizer, templates and config come from.
        files: All files of the checkpoint, sorted by name.
    """

    fraction: LambdaText
    value: Annotated[float, msgspec.Meta(ge=0, le=1)]
    name: str
    path: str
    served_model_name: str
    donor: Side
    files: list[File]

    @property
    def lam(self) -> Fraction:
        """λ as a fraction."""
        return Fraction(self.fraction)


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The contents of grid.json.

    Attributes:
        schema_version: Always 1. Readers refuse a version that they do not know.
        tool: The program that wrote the grid.
        name: Prefix of the served model names.
        recipe: The recipe, with every default filled in.
        instruct: Parent at λ = 0.
        thinking: Parent at λ = 1.
        inventory: The tensors that every checkpoint holds.
        notes: Harmless differences between the parents.
        allowed: Differences that the user allowed with `allow_config`.
        checkpoints: The checkpoints, in ascending order of λ.
    """

    schema_version: Literal[1]
    tool: Tool
    name: str
    recipe: RecipeRecord
    instruct: Source
    thinking: Source
    inventory: Inventory
    notes: list[str]
    allowed: list[str]
    checkpoints: Annotated[list[Member], msgspec.Meta(min_length=1)]


def weights_digest(grid: Grid) -> str:
    """Return a digest of what determines the weights at any λ: both parents' tensors and the dtype."""
    made_of = [grid.instruct.tensors, grid.thinking.tensors, grid.recipe.dtype]
    return digest_bytes(msgspec.json.Encoder(order="sorted").encode(made_of))


def write_grid(folder: Path, grid: Grid) -> None:
    """Write grid.json atomically."""
    write_durable(folder / GRID_FILE, encode(grid), resumes=True)


def read_grid(folder: Path) -> Grid:
    """Read the grid.json of a folder.

    Raises:
        GridUnreadable: grid.json is missing, unreadable or malformed, or has another schema version.
    """
    path = folder / GRID_FILE
    try:
        if is_special(path):
            raise GridUnreadable(f"{path} is not a file")
        content = path.read_bytes()
    except OSError as error:
        raise GridUnreadable(
            f"{path}: {error.strerror}", hint="`dami-merge grid` writes it when the grid is complete"
        ) from error
    try:
        version = msgspec.json.decode(content, type=_Version).schema_version
    except msgspec.MsgspecError as error:
        raise GridUnreadable(f"{path} is not a valid grid.json: {error}") from error
    if version != SCHEMA_VERSION:
        raise GridUnreadable(
            f"{path} has schema version {version}, but this release reads version {SCHEMA_VERSION}",
            hint="upgrade dami-merge, or build the grid again",
        )
    try:
        grid = msgspec.json.decode(content, type=Grid)
    except msgspec.MsgspecError as error:
        raise GridUnreadable(f"{path}: {error}") from error
    _check_members(path, grid)
    return grid


def member_of(grid: Grid, lam: Fraction) -> Member:
    """Return the checkpoint at this λ.

    Raises:
        LambdaError: The grid has no checkpoint at this λ.
    """
    members = {member.lam: member for member in grid.checkpoints}
    require_available([lam], members)
    return members[lam]


class _Version(msgspec.Struct):
    schema_version: int


def _check_members(path: Path, grid: Grid) -> None:
    seen: set[Fraction] = set()
    names: set[str] = set()
    paths: set[str] = set()
    for member in grid.checkpoints:
        try:
            lam = parse_lambda(member.fraction)
        except LambdaError as error:
            raise GridUnreadable(f"{path}: {error}") from error
        if not math.isclose(member.value, lam):
            raise GridUnreadable(f"{path}: the fraction {member.fraction} and value {member.value} differ")
        if lam in seen:
            raise GridUnreadable(f"{path}: two checkpoints have λ = {member.fraction}")
        if member.name in names or member.path in paths:
            raise GridUnreadable(
                f"{path}: two checkpoints have the name {member.name!r} or the path {member.path!r}"
            )
        if not _inside(member.path):
            raise GridUnreadable(f"{path}: the path {member.path!r} is not inside the grid's folder")
        outside = [file.name for file in member.files if not _inside(file.name)]
        if outside:
            raise GridUnreadable(f"{path}: the file {outside[0]!r} is not inside its checkpoint's folder")
        seen.add(lam)
        names.add(member.name)
        paths.add(member.path)


def _inside(name: str) -> bool:
    """Return whether a relative POSIX path stays below its folder."""
    path = PurePosixPath(name)
    return str(path) == name != "." and "\\" not in name and not path.is_absolute() and ".." not in path.parts


def json_schema() -> dict[str, object]:
    """Return the JSON Schema (2020-12) of grid.json."""
    schema = msgspec.json.schema(Grid)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "dami-merge grid.json, schema version 1",
        **schema,
    }


def schema_bytes() -> bytes:
    """Return the schema as shipped in `grid.schema.json`."""
    return msgspec.json.format(msgspec.json.Encoder(order="sorted").encode(json_schema()), indent=2) + b"\n"
