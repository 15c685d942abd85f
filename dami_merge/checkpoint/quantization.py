"""Detect quantised checkpoints, whose stored numbers must not be averaged because they depend on scales.

Looks at config fields, tensor names and dtypes; cannot dequantise.
"""

from collections.abc import Mapping

from dami_merge.checkpoint.config import QUANTIZATION_FIELDS
from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.errors import Problem

_REMEDY: Mapping[str, str] = {
    "fp8": "use the bfloat16 repository of the same model (without -FP8), or dequantise the checkpoint first",
    "fbgemm_fp8": "use the bfloat16 repository of the same model (without -FP8)",
    "gptq": "use the original repository (without -GPTQ)",
    "awq": "use the original repository (without -AWQ)",
    "bitsandbytes": "use the unquantised repository (without -bnb-4bit)",
    "compressed-tensors": "use the unquantised repository (without -W8A8, -W4A16 or -FP8)",
    "mxfp4": "dequantise the checkpoint to bfloat16 with transformers first",
}
_ANY_REMEDY = "use the unquantised repository of the same model"
_MARKS = (
    ".qweight", ".qzeros", ".g_idx", "weight_scale_inv", ".weight_scale", ".weight_packed",
    ".quant_state", ".absmax", ".quant_map", ".SCB",
)  # fmt: skip


def quantization_problem(checkpoint: Checkpoint) -> Problem | None:
    """Return the problem of a quantised checkpoint, with the repository to use instead, or None."""
    method = _declared(checkpoint.config)
    if method is None:
        method = _seen(checkpoint)
    if method is None:
        return None
    return Problem(
        "quantized",
        f"{checkpoint.spec} is quantised ({method}): quantised weights cannot be interpolated",
        _REMEDY.get(method, _ANY_REMEDY),
    )


def _declared(config: Mapping[str, object]) -> str | None:
    for field in sorted(QUANTIZATION_FIELDS):
        value = config.get(field)
        if isinstance(value, Mapping) and value:
            return str(value.get("quant_method") or value.get("format") or "unknown method")
    nested = (_declared(value) for value in config.values() if isinstance(value, Mapping))
    return next((method for method in nested if method is not None), None)


def _seen(checkpoint: Checkpoint) -> str | None:
    for header in checkpoint.files.values():
        for tensor in header.tensors:
            if tensor.dtype.startswith("F8_"):
                return "fp8"
            if tensor.name.endswith(_MARKS):
                return f"it contains {tensor.name}"
    return None
