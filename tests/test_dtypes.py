"""The table of dtypes agrees with torch, numpy and the safetensors library."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dami_merge.checkpoint.header import read_header
from dami_merge.dtypes import DTYPES, FLOAT_NAMES, FLOATS, HEADER_NAMES, INTEGERS, ITEM_BYTES
from dami_merge.tensors.dtypes import FLOAT_DTYPES, NAMED_FLOATS


@pytest.mark.parametrize("header", sorted(DTYPES))
def test_a_row_has_the_size_that_torch_and_numpy_give_the_dtype(header: str) -> None:
    row = DTYPES[header]
    assert getattr(torch, row.torch).itemsize == row.size_bytes == ITEM_BYTES[header]
    if row.numpy:
        assert np.dtype(row.numpy).itemsize == row.size_bytes
        if header not in {"U16", "U32", "U64"}:  # torch converts these without naming them in numpy
            assert torch.zeros(1, dtype=getattr(torch, row.torch)).numpy().dtype == np.dtype(row.numpy)


@pytest.mark.parametrize("header", sorted(DTYPES))
def test_the_library_names_the_dtype_as_the_row_does(header: str, tmp_path: Path) -> None:
    dtype = getattr(torch, DTYPES[header].torch)
    file = tmp_path / "one.safetensors"
    save_file({"x": torch.zeros(3, dtype=torch.uint8).to(dtype)}, file)
    assert read_header(file).tensors[0].dtype == header
    assert load_file(file)["x"].dtype == dtype


def test_floats_are_what_users_may_name_and_every_dtype_has_one_kind() -> None:
    assert {HEADER_NAMES[name] for name in FLOAT_NAMES} == FLOATS == set(FLOAT_DTYPES)
    assert list(NAMED_FLOATS) == list(FLOAT_NAMES)
    assert all(getattr(torch, name) == dtype for name, dtype in NAMED_FLOATS.items())
    assert not FLOATS & INTEGERS
    assert {
        header for header in DTYPES if DTYPES[header].kind == "other"
    } == DTYPES.keys() - FLOATS - INTEGERS
