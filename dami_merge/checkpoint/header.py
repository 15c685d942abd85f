"""Parse and build the header of a safetensors file; parsed bytes are untrusted.

The format: the length N as 8 little-endian bytes; N bytes of space-padded UTF-8 JSON; the tensors' bytes.
Every size in a header is checked against the file's size before anything is allocated for it.
Knows bytes and names only: no tensors, no torch.
"""

import json
import math
import reprlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

from dami_merge.dtypes import ITEM_BYTES
from dami_merge.errors import InputRefused, Problem
from dami_merge.files import digest_bytes

MAX_HEADER_BYTES = 100_000_000
"""The safetensors library has the same limit."""

ALIGNMENT = 4096
"""Headers written here are padded so that the data starts at a page boundary, as direct I/O needs."""

_LFS_MARK = b"version https://git-lfs"
_MAX_NUMBER = 2**63 - 1
_METADATA = {"format": "pt"}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Header entry of one tensor.

    Attributes:
        name: Name as in the file; may contain any characters.
        dtype: Dtype as in the file: `BF16`, `F32`, …
        shape: Dimensions; empty for a scalar.
        start: Offset of the tensor's first byte from the start of the file.
        size_bytes: Size in bytes; 0 for a tensor with a zero dimension.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size_bytes: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """Header of one file.

    Attributes:
        tensors: Header entries in the order of their bytes.
        size_bytes: Size of the whole file.
        digest: Digest of the header's bytes (length prefix included).
        verbatim: The header's bytes if another file with the same tensors may reuse them: the metadata is
            exactly `{"format": "pt"}` and the data starts at a multiple of 8. Empty otherwise.
    """

    tensors: tuple[TensorInfo, ...]
    size_bytes: int
    digest: str
    verbatim: bytes = field(default=b"", repr=False, compare=False)


def read_header(path: Path) -> Header:
    """Read and check the header of a local file.

    Raises:
        InputRefused: The file cannot be read, is truncated, or is not a well-formed safetensors file.
    """
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, 2)
            file.seek(0)
            raw = file.read(8)
            length = header_length(raw, size_bytes, path.name)
            raw += file.read(length)
    except OSError as error:
        raise _refused("unreadable", f"{path}: {error.strerror}") from error
    return parse_header(raw, size_bytes, path.name)


def header_length(prefix: bytes, file_bytes: int, where: str) -> int:
    """Return the header length in the first eight bytes, if the file can hold it.

    Raises:
        InputRefused: The file is a Git LFS pointer, too short, or shorter than its header claims.
    """
    if _LFS_MARK.startswith(prefix) and prefix:
        raise _refused(
            "lfs-pointer",
            f"{where} is a Git LFS pointer, not weights",
            "run `git lfs pull` in its folder, or give the Hub id instead",
        )
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > file_bytes - 8 or not 2 <= length <= MAX_HEADER_BYTES:
        raise _refused(
            "header-length",
            f"{where}: the header claims {length} bytes in a file of {file_bytes} bytes",
            "the file is truncated or not safetensors: download it again",
        )
    return length


def parse_header(raw: bytes, file_bytes: int, where: str) -> Header:
    """Parse and check a header's bytes.

    Args:
        raw: The length prefix and the JSON.
        file_bytes: Size of the whole file.
        where: The file's name, for messages.

    Raises:
        InputRefused: The header is not UTF-8, not JSON, has a duplicate key or an unknown dtype, or its
            offsets mismatch, overlap, leave a gap or exceed the file; reports the first problem found.
    """
    entries = _decode(raw[8:], where)
    metadata = entries.pop("__metadata__", None)
    data_start = len(raw)
    tensors = [_tensor(name, entry, data_start, where) for name, entry in entries.items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.size_bytes))
    position = data_start
    for tensor in tensors:
        if tensor.start != position:
            what = "overlaps the previous tensor" if tensor.start < position else "leaves a gap before it"
            raise _refused(
                "offsets",
                f"{where}: tensor {_shown(tensor.name)} starts at byte {tensor.start} and {what}"
                f" (expected byte {position})",
            )
        position += tensor.size_bytes
    if position != file_bytes:
        state = "truncated" if file_bytes < position else "longer than its header says"
        raise _refused(
            "file-size",
            f"{where} is {state}: it has {file_bytes} bytes, expected {position}",
            "download the file again",
        )
    plain = metadata == _METADATA and data_start % 8 == 0
    return Header(tuple(tensors), file_bytes, digest_bytes(raw), raw if plain else b"")


def _decode(text: bytes, where: str) -> dict[str, object]:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            counts = Counter(name for name, _ in pairs)
            twice = next(name for name, count in counts.items() if count > 1)
            raise _refused("duplicate-name", f"{where}: the header has a duplicate key {_shown(twice)}")
        return entries

    try:
        entries = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise _refused("header-utf8", f"{where}: the header is not UTF-8") from error
    except (ValueError, RecursionError) as error:  # ValueError: also an integer with too many digits
        raise _refused("header-json", f"{where}: the header is not JSON ({error})") from error
    if not isinstance(entries, dict):
        raise _refused("header-json", f"{where}: the header is not a JSON object")
    return entries


def _tensor(name: str, entry: object, data_start: int, where: str) -> TensorInfo:
    if not isinstance(entry, dict):
        raise _refused("header-entry", f"{where}: the header entry of {_shown(name)} is not a JSON object")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise _refused("header-utf8", f"{where}: the tensor name {_shown(name)} is not valid Unicode")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise _refused("dtype-unknown", f"{where}: tensor {_shown(name)} has unknown dtype {_shown(dtype)}")
    if not (_naturals(shape) and _naturals(offsets) and len(offsets) == 2):
        raise _refused(
            "header-entry",
            f"{where}: tensor {_shown(name)} has invalid shape {_shown(shape)} or offsets {_shown(offsets)}",
        )
    begin, end = offsets
    needed = _size(shape, ITEM_BYTES[dtype])
    if needed is None or end - begin != needed:
        raise _refused(
            "offsets",
            f"{where}: tensor {_shown(name)} with dtype {dtype} and shape {_shown(shape)} needs"
            f" {'more than 2**63' if needed is None else needed} bytes,"
            f" but its offsets [{begin}, {end}] span {end - begin}",
        )
    return TensorInfo(name, dtype, tuple(shape), data_start + begin, needed)


def _naturals(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(
        isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= _MAX_NUMBER for item in value
    )


def _size(shape: list[int], item_bytes: int) -> int | None:
    """Return a tensor's size in bytes; None if it, or the product of leading dimensions, exceeds 63 bits."""
    size = item_bytes
    for dimension in shape:
        size *= dimension
        if size > _MAX_NUMBER:
            return None
    return size


def _shown(value: object) -> str:
    """Return the repr of an untrusted value, bounded in length and depth."""
    bounded = reprlib.Repr()
    bounded.maxstring = 200
    bounded.maxlist = 16
    return bounded.repr(value)


def build_header(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> bytes:
    """Build the header for tensors that follow each other without gaps.

    Args:
        tensors: `(name, dtype, shape)` in the order of their bytes.

    Returns:
        The length prefix and the JSON, padded with spaces to a multiple of 4096 bytes.
    """
    entries: dict[str, object] = {"__metadata__": _METADATA}
    position = 0
    for name, dtype, shape in tensors:
        end = position + math.prod(shape) * ITEM_BYTES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _refused(code: str, message: str, hint: str = "") -> InputRefused:
    return InputRefused([Problem(code, message, hint)])
