"""Quantised checkpoints are recognised by what they declare and by what they hold."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from dami_merge.checkpoint.folder import open_folder
from dami_merge.checkpoint.quantization import quantization_problem
from dami_merge.errors import Problem
from tests.checkpoints import CONFIG, random_tensors, write_checkpoint


def problem(
    folder: Path, extra: Mapping[str, torch.Tensor] = {}, config: Mapping[str, object] = {}
) -> Problem | None:
    tensors = {**random_tensors(seed=0), **extra}
    written = write_checkpoint(folder, tensors, config={**CONFIG, **config})
    return quantization_problem(open_folder(written, spec="org/m"))


def test_a_plain_checkpoint_is_not_quantised(tmp_path: Path) -> None:
    assert problem(tmp_path / "m", {"model.layers.0.mlp.router.scale": torch.ones(2)}) is None


@pytest.mark.parametrize("empty", [None, {}, "none", []])
def test_an_empty_declaration_declares_nothing(tmp_path: Path, empty: object) -> None:
    assert problem(tmp_path / "m", config={"quantization_config": empty}) is None


@pytest.mark.parametrize(
    ("field", "declared", "method", "hint"),
    [
        ("quantization_config", {"quant_method": "fp8"}, "fp8", "without -FP8"),
        ("quantization_config", {"quant_method": "fbgemm_fp8"}, "fbgemm_fp8", "without -FP8"),
        ("quantization_config", {"quant_method": "gptq", "bits": 4}, "gptq", "without -GPTQ"),
        ("quantization_config", {"quant_method": "awq"}, "awq", "without -AWQ"),
        ("quantization_config", {"quant_method": "bitsandbytes"}, "bitsandbytes", "without -bnb-4bit"),
        ("quantization_config", {"quant_method": "mxfp4"}, "mxfp4", "dequantise the checkpoint to bfloat16"),
        (
            "quantization_config",
            {"quant_method": "compressed-tensors", "format": "pack-quantized"},
            "compressed-tensors",
            "without -W8A8",
        ),
        ("compression_config", {"format": "float-quantized"}, "float-quantized", "unquantised repository"),
        ("quantization", {"group_size": 64, "bits": 4}, "unknown method", "unquantised repository"),
    ],
)
@pytest.mark.parametrize("place", ["", "text_config", "thinker_config.text_config"])
def test_a_declared_quantisation_is_refused_with_the_repository_to_take(
    tmp_path: Path, field: str, declared: dict[str, object], method: str, hint: str, place: str
) -> None:
    config: dict[str, object] = {field: declared}
    for part in reversed(place.split(".") if place else []):
        config = {part: config}
    found = problem(tmp_path / "m", config=config)
    assert found is not None
    assert found.code == "quantized"
    assert found.message == f"org/m is quantised ({method}): quantised weights cannot be interpolated"
    assert hint in found.hint
    assert found.field == ""


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_fp8_tensors_are_recognised_without_a_declaration(tmp_path: Path, dtype: torch.dtype) -> None:
    found = problem(tmp_path / "m", {"model.layers.0.mlp.down_proj.weight": torch.zeros(2, 2).to(dtype)})
    assert found is not None
    assert found.message.startswith("org/m is quantised (fp8): ")
    assert "without -FP8" in found.hint


@pytest.mark.parametrize(
    "suffix",
    [
        "qweight", "qzeros", "g_idx", "weight_scale_inv", "weight_scale", "weight_packed", "weight.absmax",
        "weight.quant_map", "weight.SCB",
    ],
)  # fmt: skip
def test_scales_and_packed_weights_are_recognised_without_a_declaration(tmp_path: Path, suffix: str) -> None:
    name = f"model.layers.0.mlp.down_proj.{suffix}"
    found = problem(tmp_path / "m", {name: torch.zeros(2)})
    assert found == Problem(
        "quantized",
        f"org/m is quantised (it contains {name}): quantised weights cannot be interpolated",
        "use the unquantised repository of the same model",
    )
