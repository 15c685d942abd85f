"""The float dtypes of safetensors headers as torch knows them."""

from collections.abc import Mapping

import torch

FLOAT_DTYPES: Mapping[str, torch.dtype] = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
}
