"""Every dtype that a safetensors header can name: its size, and its name in torch, numpy and config.json.

The only such table in the package. Imports neither torch nor numpy; `tensors.dtypes` has the torch objects.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

FloatName = Literal["bfloat16", "float16", "float32", "float64"]
"""A float dtype that can be interpolated and written, as config.json, torch and the command line spell it."""

Kind = Literal["float", "integer", "other"]
"""`float` is interpolated, `integer` (including bool) must be equal and is copied, `other` is refused."""


@dataclass(frozen=True, slots=True)
class Dtype:
    """One row of the table.

    Attributes:
        header: Name in a safetensors header, `BF16`.
        kind: What a merge does with it.
        size_bytes: Bytes of one element.
        torch: Name of the torch dtype, which config.json uses too: `bfloat16`.
        numpy: Name of the numpy dtype; empty if numpy has none.
    """

    header: str
    kind: Kind
    size_bytes: int
    torch: str
    numpy: str


_TABLE = (
    Dtype("BF16", "float", 2, "bfloat16", ""),
    Dtype("F16", "float", 2, "float16", "float16"),
    Dtype("F32", "float", 4, "float32", "float32"),
    Dtype("F64", "float", 8, "float64", "float64"),
    Dtype("BOOL", "integer", 1, "bool", "bool"),
    Dtype("U8", "integer", 1, "uint8", "uint8"),
    Dtype("I8", "integer", 1, "int8", "int8"),
    Dtype("U16", "integer", 2, "uint16", "uint16"),
    Dtype("I16", "integer", 2, "int16", "int16"),
    Dtype("U32", "integer", 4, "uint32", "uint32"),
    Dtype("I32", "integer", 4, "int32", "int32"),
    Dtype("U64", "integer", 8, "uint64", "uint64"),
    Dtype("I64", "integer", 8, "int64", "int64"),
    Dtype("F8_E4M3", "other", 1, "float8_e4m3fn", ""),
    Dtype("F8_E5M2", "other", 1, "float8_e5m2", ""),
    Dtype("F8_E8M0", "other", 1, "float8_e8m0fnu", ""),
    Dtype("F8_E4M3FNUZ", "other", 1, "float8_e4m3fnuz", ""),
    Dtype("F8_E5M2FNUZ", "other", 1, "float8_e5m2fnuz", ""),
    Dtype("C64", "other", 8, "complex64", "complex64"),
)

DTYPES: Mapping[str, Dtype] = {row.header: row for row in _TABLE}
"""The table by header name."""

ITEM_BYTES: Mapping[str, int] = {row.header: row.size_bytes for row in _TABLE}
FLOATS = frozenset(row.header for row in _TABLE if row.kind == "float")
INTEGERS = frozenset(row.header for row in _TABLE if row.kind == "integer")

FLOAT_NAMES: tuple[FloatName, ...] = get_args(FloatName)

HEADER_NAMES: Mapping[str, str] = {row.torch: row.header for row in _TABLE}
"""Maps the torch name to the header name, such as `bfloat16` to `BF16`."""

_OTHER_SPELLINGS: Mapping[str, FloatName] = {
    "bf16": "bfloat16",
    "fp16": "float16", "f16": "float16", "half": "float16",
    "fp32": "float32", "f32": "float32", "float": "float32", "single": "float32",
    "fp64": "float64", "f64": "float64", "double": "float64",
}  # fmt: skip


def meant_float(spelling: str) -> FloatName | None:
    """Return the float dtype that people mean by another spelling; None if it is not a known one.

    Example:
        >>> meant_float("fp16"), meant_float("torch.bfloat16"), meant_float("int8")
        ('float16', 'bfloat16', None)
    """
    short = spelling.strip().casefold().removeprefix("torch.")
    return next((name for name in FLOAT_NAMES if name == short), None) or _OTHER_SPELLINGS.get(short)
