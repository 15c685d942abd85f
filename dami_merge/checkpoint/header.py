"""The header of a safetensors file: parsed as hostile bytes, and written.

The format: 8 bytes of length N, little-endian; N bytes of UTF-8 JSON, space-padded; the tensors' bytes.
Every claim of a header is checked against the file's size before anything is allocated for it.
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
"""The limit of the safetensors library itself."""

ALIGNMENT = 4096
"""Headers of our own are padded so that the data starts on a page: direct I/O likes it."""

_LFS_MARK = b"version https://git-lfs"
_MAX_NUMBER = 2**63 - 1
_METADATA = {"format": "pt"}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a header says of one tensor.

    Attributes:
        name: As in the file; any characters.
        dtype: As in the file: `BF16`, `F32`, …
        shape: Dimensions; empty for a scalar.
        start: Offset of its first byte from the start of the file.
        size_bytes: Bytes it takes, 0 for a tensor with a zero dimension.
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
    """One file's header.

    Attributes:
        tensors: In the order of their bytes.
        size_bytes: Size of the whole file.
        digest: Digest of the header's bytes (length prefix included).
        verbatim: Those bytes, where another file of the same tensors may begin with them: the metadata say
            `{"format": "pt"}` and no more, and the data starts at a multiple of 8. Empty otherwise.
    """

    tensors: tuple[TensorInfo, ...]
    size_bytes: int
    digest: str
    verbatim: bytes = field(default=b"", repr=False, compare=False)


def read_header(path: Path) -> Header:
    """Read and check the header of a local file.

    Raises:
        InputRefused: The file is not a whole, well-formed safetensors file.
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
    """The length that the first eight bytes claim, if the file can hold it.

    Raises:
        InputRefused: It is a Git-LFS pointer, too short, or claims more than there is.
    """
    if _LFS_MARK.startswith(prefix) and prefix:
        raise _refused(
            "lfs-pointer",
            f"{where} is a Git-LFS pointer, not weights",
            "run `git lfs pull` in its folder, or name the Hub id instead",
        )
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > file_bytes - 8 or not 2 <= length <= MAX_HEADER_BYTES:
        raise _refused(
            "header-length",
            f"{where}: its header claims {length} bytes in a file of {file_bytes}",
            "the file is truncated or not safetensors: fetch it again",
        )
    return length


def parse_header(raw: bytes, file_bytes: int, where: str) -> Header:
    """Check a header's bytes.

    Args:
        raw: The length prefix and the JSON.
        file_bytes: Size of the whole file.
        where: The file's name for messages.

    Raises:
        InputRefused: With the first thing that is wrong: not UTF-8, not JSON, a duplicate name, an
            unknown dtype, sizes that disagree, overlapping, out of range, or with holes.
    """
    entries = _decode(raw[8:], where)
    metadata = entries.pop("__metadata__", None)
    data_start = len(raw)
    tensors = [_tensor(name, entry, data_start, where) for name, entry in entries.items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.size_bytes))
    position = data_start
    for tensor in tensors:
        if tensor.start != position:
            what = "overlaps the one before" if tensor.start < position else "leaves a hole before"
            raise _refused(
                "offsets",
                f"{where}: tensor {_shown(tensor.name)} starts at byte {tensor.start}, {what}"
                f" ({position} expected)",
            )
        position += tensor.size_bytes
    if position != file_bytes:
        state = "truncated" if file_bytes < position else "longer than its header says"
        raise _refused(
            "file-size",
            f"{where} is {state}: {file_bytes} bytes, the header needs {position}",
            "fetch the file again",
        )
    plain = metadata == _METADATA and data_start % 8 == 0
    return Header(tuple(tensors), file_bytes, digest_bytes(raw), raw if plain else b"")


def _decode(text: bytes, where: str) -> dict[str, object]:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            counts = Counter(name for name, _ in pairs)
            twice = next(name for name, count in counts.items() if count > 1)
            raise _refused("duplicate-name", f"{where}: the header names {_shown(twice)} twice")
        return entries

    try:
        entries = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise _refused("header-utf8", f"{where}: the header is not UTF-8") from error
    except (ValueError, RecursionError) as error:  # ValueError: also an integer of too many digits
        raise _refused("header-json", f"{where}: the header is not JSON ({error})") from error
    if not isinstance(entries, dict):
        raise _refused("header-json", f"{where}: the header is not a JSON object")
    return entries


def _tensor(name: str, entry: object, data_start: int, where: str) -> TensorInfo:
    if not isinstance(entry, dict):
        raise _refused("header-entry", f"{where}: {_shown(name)} is not described by an object")
    if any("\ud800" <= character <= "\udfff" for character in name):
        raise _refused("header-utf8", f"{where}: the tensor name {_shown(name)} is not valid Unicode")
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise _refused(
            "dtype-unknown", f"{where}: tensor {_shown(name)} has the unknown dtype {_shown(dtype)}"
        )
    if not (_naturals(shape) and _naturals(offsets) and len(offsets) == 2):
        raise _refused(
            "header-entry",
            f"{where}: tensor {_shown(name)} has shape {_shown(shape)} and offsets {_shown(offsets)}",
        )
    begin, end = offsets
    needed = _size(shape, ITEM_BYTES[dtype])
    if needed is None or end - begin != needed:
        raise _refused(
            "offsets",
            f"{where}: tensor {_shown(name)} of {dtype} {_shown(shape)} needs"
            f" {'more than 2**63' if needed is None else needed} bytes,"
            f" its offsets [{begin}, {end}] span {end - begin}",
        )
    return TensorInfo(name, dtype, tuple(shape), data_start + begin, needed)


def _naturals(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(
        isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= _MAX_NUMBER for item in value
    )


def _size(shape: list[int], item_bytes: int) -> int | None:
    """Bytes of a tensor; None where they, or those of the first dimensions alone, do not fit in 63 bits."""
    size = item_bytes
    for dimension in shape:
        size *= dimension
        if size > _MAX_NUMBER:
            return None
    return size


def _shown(value: object) -> str:
    """The repr of a hostile value, bounded in length and in depth."""
    bounded = reprlib.Repr()
    bounded.maxstring = 200
    bounded.maxlist = 16
    return bounded.repr(value)


def build_header(tensors: Iterable[tuple[str, str, tuple[int, ...]]]) -> bytes:
    """The bytes of a header for tensors that follow each other without holes.

    Args:
        tensors: `(name, dtype, shape)` in the order of their bytes.

    Returns:
        Length prefix and JSON, padded with spaces to a multiple of 4096 bytes.
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
