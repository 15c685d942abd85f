"""The bundled pair with a hundredth of its difference, stored in bfloat16: rounding eats it."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING
from dami_merge.checkpoint.source import open_source
from tests.twins import FILE


def eaten_pair(
    folder: Path, *, share: float = 0.01, dtype: torch.dtype = torch.bfloat16
) -> tuple[Path, Path]:
    """Write both sides into a new folder."""
    roots = [open_source(name).root for name in (BUNDLED_INSTRUCT, BUNDLED_THINKING)]
    instruct, thinking = (load_file(root / FILE) for root in roots)
    made = []
    for root, part, name in zip(roots, (0.0, share), ("instruct", "thinking"), strict=True):
        side = folder / name
        shutil.copytree(root, side)
        config = json.loads((side / "config.json").read_text(encoding="utf-8"))
        config["dtype"] = str(dtype).removeprefix("torch.")
        (side / "config.json").write_text(json.dumps(config), encoding="utf-8")
        weights = {
            key: (instruct[key] + part * (thinking[key] - instruct[key])).to(dtype) for key in instruct
        }
        save_file(weights, side / FILE, metadata={"format": "pt"})
        made.append(side)
    return made[0], made[1]
