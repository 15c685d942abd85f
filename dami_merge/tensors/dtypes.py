"""The float dtypes of `dami_merge.dtypes` as torch dtypes."""

from collections.abc import Mapping

import torch

from dami_merge.dtypes import DTYPES, FLOAT_NAMES, HEADER_NAMES


def _torch_dtype(header: str) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, DTYPES[header].torch)
    return dtype


FLOAT_DTYPES: Mapping[str, torch.dtype] = {
    HEADER_NAMES[name]: _torch_dtype(HEADER_NAMES[name]) for name in FLOAT_NAMES
}
"""By header name, such as `BF16`."""

NAMED_FLOATS: Mapping[str, torch.dtype] = {name: FLOAT_DTYPES[HEADER_NAMES[name]] for name in FLOAT_NAMES}
"""By the name that users type, such as `bfloat16`."""
