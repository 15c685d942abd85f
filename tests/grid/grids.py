"""Plans and expectations that the grid's tests share."""

import itertools
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from dami_merge.checkpoint.pair import join
from dami_merge.checkpoint.source import open_both
from dami_merge.grid.plan import DEFAULT_BLOCK_BYTES, EndsMode, GridPlan, PlannedMember
from dami_merge.grid.planning import make_plan
from dami_merge.grid.recipe import Recipe
from dami_merge.lambdas import folder_name
from tests.tensors.rational import FORMATS, bits_of, tensor_of, weighted_mean

THREE = (Fraction(0), Fraction(3, 10), Fraction(1))


def plan_of(
    folders: tuple[Path, Path],
    output: Path,
    *,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    endpoints: EndsMode = "auto",
    **fields: Any,  # of a Recipe
) -> GridPlan:
    """The plan of a pair of folders, as the command line makes it."""
    recipe = Recipe(instruct=str(folders[0]), thinking=str(folders[1]), **fields)
    pair = join(
        *open_both(recipe.instruct, recipe.thinking),
        allow=recipe.allow_config,
        mixed_dtypes=recipe.dtype is not None,
    )
    return make_plan(recipe, pair, output, block_bytes=block_bytes, endpoints=endpoints)


def member_at(plan: GridPlan, lam: Fraction) -> PlannedMember:
    """The member of a λ, whether or not the plan has it."""
    name = folder_name(lam)
    return PlannedMember(name, lam, plan.recipe.donor_of(lam), f"{plan.name}-{name}")


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a grid but the run's own state."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != ".dami-merge"
    }


def weights_of(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint folder, read with the safetensors library."""
    files = sorted(folder.glob("*.safetensors"))
    return dict(itertools.chain.from_iterable(load_file(file).items() for file in files))


def expected(left: Tensor, right: Tensor, lam: Fraction, dtype: torch.dtype) -> Tensor:
    """Θ(λ), computed another way: float64 and plain integer weights, or exact rationals for float64."""
    if not left.is_floating_point():
        return left
    if lam in {0, 1}:
        return (left if lam == 0 else right).to(dtype)
    if torch.float64 in {left.dtype, right.dtype}:
        sides = FORMATS[left.dtype], FORMATS[right.dtype]
        pairs = zip(bits_of(left.flatten()), bits_of(right.flatten()), strict=True)
        results = [weighted_mean(a, b, lam, sides, FORMATS[dtype]) for a, b in pairs]
        return tensor_of(results, FORMATS[dtype]).reshape(left.shape)
    p, q = lam.numerator, lam.denominator
    return (((q - p) * left.double() + p * right.double()) / q).to(dtype)


def assert_interpolated(
    folder: Path,
    instruct: Mapping[str, Tensor],
    thinking: Mapping[str, Tensor],
    lam: Fraction,
    dtype: torch.dtype | None = None,
) -> None:
    """Every tensor of a checkpoint is what it should be, bit for bit, and there is no other."""
    found = weights_of(folder)
    assert found.keys() == instruct.keys()
    for name, tensor in found.items():
        written = dtype if dtype and instruct[name].is_floating_point() else instruct[name].dtype
        want = expected(instruct[name], thinking[name], lam, written)
        assert (tensor.dtype, tensor.shape) == (want.dtype, want.shape), name
        assert raw(tensor) == raw(want), f"{name!r} at λ={lam}"


def raw(tensor: Tensor) -> bytes:
    """A tensor's bytes."""
    flat = tensor.contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""  # torch cannot view nothing
