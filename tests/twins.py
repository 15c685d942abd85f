"""The bundled Instruct model with its neurons in another order: the same function, another basin."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from dami_merge.bundled import BUNDLED_INSTRUCT
from dami_merge.checkpoint.source import open_source

FILE = "model.safetensors"


def permuted_twin(folder: Path) -> Path:
    """Write it; rows of both inner projections and columns of the outer one move together."""
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
