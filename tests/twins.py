"""Controls made from the bundled pair: a twin in another basin, and a pair whose λ is a switch."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING
from dami_merge.checkpoint.source import open_source

FILE = "model.safetensors"


def permuted_twin(folder: Path) -> Path:
    """Write the bundled Instruct model with its neurons in another order: the same function, another basin.

    Rows of both inner projections and columns of the outer one move together.
    """
    shutil.copytree(open_source(BUNDLED_INSTRUCT).root, folder)
    weights = load_file(folder / FILE)
    generator = torch.Generator().manual_seed(0)
    for name in [name for name in weights if name.endswith("mlp.up_proj.weight")]:
        stem = name.removesuffix("up_proj.weight")
        order = torch.randperm(len(weights[name]), generator=generator)
        for inner in ("up_proj", "gate_proj"):
            weights[f"{stem}{inner}.weight"] = weights[f"{stem}{inner}.weight"][order].contiguous()
        weights[f"{stem}down_proj.weight"] = weights[f"{stem}down_proj.weight"][:, order].contiguous()
    save_file(weights, folder / FILE, metadata={"format": "pt"})
    return folder


def stretched_pair(folder: Path, factor: float) -> tuple[Path, Path]:
    """Write the bundled pair with its two models `factor` times as far apart, around the same middle.

    The path runs along the same line, so that the same change lies within a `factor`-th of λ.
    """
    roots = [open_source(side).root for side in (BUNDLED_INSTRUCT, BUNDLED_THINKING)]
    instruct, thinking = (load_file(root / FILE) for root in roots)
    for root, sign in zip(roots, (-1, 1), strict=True):
        shutil.copytree(root, folder / root.name)
        moved = {
            name: (tensor + thinking[name]) / 2 + sign * factor / 2 * (thinking[name] - tensor)
            for name, tensor in instruct.items()
        }
        save_file(moved, folder / root.name / FILE, metadata={"format": "pt"})
    return folder / roots[0].name, folder / roots[1].name
