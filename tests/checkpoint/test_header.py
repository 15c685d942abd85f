"""Headers of safetensors files: hostile bytes are refused with the reason, written ones are standard."""

import json
import math
import tracemalloc
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from dami_merge.checkpoint.header import (
    ALIGNMENT,
    MAX_HEADER_BYTES,
    Header,
    build_header,
    header_length,
    parse_header,
    read_header,
)
from dami_merge.dtypes import ITEM_BYTES
from dami_merge.errors import InputRefused
from dami_merge.files import digest_bytes
from tests.checkpoints import random_tensors, write_checkpoint

type_and_shape = st.tuples(
    st.sampled_from(sorted(ITEM_BYTES)), st.lists(st.integers(0, 5), max_size=4).map(tuple)
)
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(lambda t: t != "__metadata__")


def raw(content: object, data_bytes: int = 0) -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text + bytes(data_bytes)


def entry(
    dtype: object = "BF16", shape: object = (2, 3), begin: object = 0, end: object = 12
) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def parsed(file: bytes) -> Header:
    length = header_length(file[:8], len(file), "m.safetensors")
    return parse_header(file[: 8 + length], len(file), "m.safetensors")


def test_a_header_of_the_safetensors_library_is_read_whole(tmp_path: Path) -> None:
    tensors = random_tensors(seed=0)
    file = write_checkpoint(tmp_path / "m", tensors) / "model.safetensors"
    header = read_header(file)
    content = file.read_bytes()
    assert header.size_bytes == len(content)
    assert {t.name: t.shape for t in header.tensors} == {n: tuple(t.shape) for n, t in tensors.items()}
    for tensor in header.tensors:
        expected = tensors[tensor.name].view(torch.uint8).numpy().tobytes()
        assert content[tensor.start : tensor.start + tensor.size_bytes] == expected
        assert tensor.elements * ITEM_BYTES[tensor.dtype] == tensor.size_bytes


def test_the_digest_covers_the_length_and_the_json() -> None:
    file = raw({"a": entry()}, 12)
    assert parsed(file).digest == digest_bytes(file[:-12])


def test_tensors_come_in_the_order_of_their_bytes() -> None:
    second, first = entry(begin=12, end=24), entry()
    assert [t.name for t in parsed(raw({"b": second, "a": first}, 24)).tensors] == ["a", "b"]


def test_a_truncated_file_is_refused_with_both_sizes() -> None:
    file = raw({"a": entry()}, 12)
    message = f"m.safetensors is truncated: it has {len(file) - 1} bytes, expected {len(file)}"
    with pytest.raises(InputRefused, match=message) as refused:
        parsed(file[:-1])
    assert refused.value.problems[0].code == "file-size"
    assert refused.value.problems[0].hint == "download the file again"


def test_a_file_with_bytes_after_the_last_tensor_is_refused_with_both_sizes() -> None:
    file = raw({"a": entry()}, 12)
    with pytest.raises(
        InputRefused, match=rf"longer than its header says: it has {len(file) + 3} .* {len(file)}"
    ):
        parsed(file + b"\0\0\0")


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b"\xff\xfe{}", "header-utf8", "the header is not UTF-8"),
        (b"hello", "header-json", r"the header is not JSON \(Expecting value"),
        (b'{"a": [' + b"[" * 100_000, "header-json", r"the header is not JSON \(maximum recursion depth"),
        (b'{"a": ' + b"9" * 5000 + b"}", "header-json", r"the header is not JSON \(Exceeds the limit"),
        (b"[1, 2]", "header-json", "the header is not a JSON object"),
        (b'{"a": {}, "b": {}, "a": {}}', "duplicate-name", "the header has a duplicate key 'a'"),
        (
            b'{"a": {"dtype": "F32", "dtype": "F16"}}',
            "duplicate-name",
            "the header has a duplicate key 'dtype'",
        ),
        ({"a": [1]}, "header-entry", "the header entry of 'a' is not a JSON object"),
        ({"a": {}}, "dtype-unknown", "tensor 'a' has unknown dtype None"),
        ({"a": entry(dtype="F12")}, "dtype-unknown", "tensor 'a' has unknown dtype 'F12'"),
        ({"a": entry(dtype=["BF16"])}, "dtype-unknown", r"tensor 'a' has unknown dtype \['BF16'\]"),
        ({"a": entry(shape=[-2, 3])}, "header-entry", r"tensor 'a' has invalid shape \[-2, 3\]"),
        ({"a": entry(shape=[True, 6])}, "header-entry", r"tensor 'a' has invalid shape \[True, 6\]"),
        ({"a": entry(shape=[2.0, 3])}, "header-entry", r"tensor 'a' has invalid shape \[2.0, 3\]"),
        ({"a": entry(shape=6)}, "header-entry", "tensor 'a' has invalid shape 6"),
        ({"a": entry(shape=[2**63])}, "header-entry", "tensor 'a' has invalid shape"),
        ({"a": entry(begin=-12, end=0)}, "header-entry", r"or offsets \[-12, 0\]"),
        ({"a": entry(end="12")}, "header-entry", r"or offsets \[0, '12'\]"),
        ({"a": {"dtype": "U8", "shape": [], "data_offsets": [0]}}, "header-entry", r"or offsets \[0\]"),
        (
            {"a": entry(begin=12, end=0)},
            "offsets",
            r"needs 12 bytes, but its offsets \[12, 0\] span -12",
        ),
        (
            {"a": entry(end=11)},
            "offsets",
            r"'a' with dtype BF16 and shape \[2, 3\] needs 12 bytes, but its offsets \[0, 11\] span 11",
        ),
        ({"a": entry(shape=[2**62, 4])}, "offsets", r"needs more than 2\*\*63 bytes"),
        ({"a": entry(shape=[2**62, 2**62, 0], end=0)}, "offsets", r"needs more than 2\*\*63 bytes"),
        (
            {"a": entry(), "b": entry(begin=6, end=18)},
            "offsets",
            "tensor 'b' starts at byte .* and overlaps the previous tensor",
        ),
        (
            {"a": entry(), "b": entry(begin=13, end=25)},
            "offsets",
            "tensor 'b' starts at byte .* and leaves a gap before it",
        ),
        ({"a": entry(begin=4, end=16)}, "offsets", "tensor 'a' starts at byte .* and leaves a gap before it"),
        (b'{"\\ud800": {}}', "header-utf8", r"the tensor name '\\ud800' is not valid Unicode"),
    ],
)
def test_a_malformed_header_is_refused_with_its_fault(content: object, code: str, message: str) -> None:
    with pytest.raises(InputRefused, match=f"^m.safetensors: .*{message}") as refused:
        parsed(raw(content, 12))
    assert [problem.code for problem in refused.value.problems] == [code]


@pytest.mark.parametrize("length", [0, 1, 13, MAX_HEADER_BYTES + 1, 2**63, 2**64 - 1])
def test_a_claimed_length_that_cannot_be_is_refused_before_it_is_read(tmp_path: Path, length: int) -> None:
    file = tmp_path / "m.safetensors"
    file.write_bytes(length.to_bytes(8, "little") + b"{}          ")
    tracemalloc.start()
    with pytest.raises(
        InputRefused, match=f"the header claims {length} bytes in a file of 20 bytes"
    ) as refused:
        read_header(file)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert refused.value.problems[0].code == "header-length"
    assert "truncated or not safetensors" in refused.value.problems[0].hint


def test_a_length_above_the_limit_is_refused_even_where_the_file_could_hold_it() -> None:
    prefix = (MAX_HEADER_BYTES + 1).to_bytes(8, "little")
    assert header_length(MAX_HEADER_BYTES.to_bytes(8, "little"), 1 << 40, "m") == MAX_HEADER_BYTES
    with pytest.raises(InputRefused, match="claims 100000001 bytes in a file of 1099511627776 bytes"):
        header_length(prefix, 1 << 40, "m")


@pytest.mark.parametrize("size", [0, 1, 7])
def test_a_file_shorter_than_the_length_prefix_is_refused(tmp_path: Path, size: int) -> None:
    file = tmp_path / "m.safetensors"
    file.write_bytes(b"\x02" * size)
    with pytest.raises(InputRefused, match=f"m.safetensors: .* in a file of {size} "):
        read_header(file)


@pytest.mark.parametrize("size", [3, 8, 130])
def test_a_git_lfs_pointer_is_named_as_such_with_the_way_out(tmp_path: Path, size: int) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 16060522904\n"
    file = tmp_path / "m.safetensors"
    file.write_bytes(pointer[:size])
    with pytest.raises(InputRefused, match=r"m\.safetensors is a Git LFS pointer, not weights") as refused:
        read_header(file)
    assert refused.value.problems[0].code == "lfs-pointer"
    assert "git lfs pull" in refused.value.problems[0].hint


@pytest.mark.parametrize(("name", "why"), [("absent", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(InputRefused, match=why) as refused:
        read_header(tmp_path / name)
    assert refused.value.problems[0].code == "unreadable"


def test_a_hostile_value_does_not_make_a_long_message() -> None:
    deep: object = 0
    for _ in range(400):
        deep = [deep]
    for bad in (entry(shape=deep), entry(shape=[-1] * 10_000), entry(dtype="x" * 100_000)):
        with pytest.raises(InputRefused, match=r"has (invalid shape|unknown dtype)") as refused:
            parsed(raw({"n" * 100_000: bad}))
        assert len(str(refused.value)) < 1000


def test_a_duplicate_among_very_many_names_is_found_at_once() -> None:
    entries = ",".join(f'"{number}":{{}}' for number in [*range(100_000), 99_999])
    with pytest.raises(InputRefused, match="the header has a duplicate key '99999'"):
        parsed(raw(f"{{{entries}}}".encode()))


def check_hostile(file: bytes) -> None:
    """Whatever the bytes are: a header whose every claim holds, or a refusal."""
    try:
        header = parsed(file)
    except InputRefused:
        return
    for tensor in header.tensors:
        assert tensor.size_bytes == math.prod(tensor.shape) * ITEM_BYTES[tensor.dtype]
        assert 0 <= tensor.start <= tensor.start + tensor.size_bytes <= len(file)


@given(st.binary(max_size=300))
def test_random_bytes_give_a_refusal_and_no_other_error(file: bytes) -> None:
    check_hostile(file)
    check_hostile(raw(file))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | names, inner, max_size=4)
        ),
        max_leaves=20,
    )
)
def test_random_json_gives_a_refusal_and_no_other_error(content: object) -> None:
    check_hostile(raw(content))
    check_hostile(raw({"a": content, "b": {"dtype": "F32", "shape": content, "data_offsets": content}}))


VALID = raw(
    {"a": entry(), "b": entry(dtype="F32", shape=[3], begin=12, end=24), "c": entry("U8", [], 24, 25)}, 25
)


@given(st.integers(0, len(VALID) - 1), st.binary(max_size=6), st.integers(0, 6), st.booleans())
def test_a_damaged_valid_file_is_refused_or_still_consistent(
    position: int, patch: bytes, removed: int, truncated: bool
) -> None:
    rest = b"" if truncated else VALID[position + removed :]
    check_hostile(VALID[:position] + patch + rest)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**63), st.integers(0, 2**63), st.integers(0, 2**63))
def test_extreme_numbers_are_refused_without_an_allocation_of_their_size(
    length: int, dimension: int, begin: int, end: int
) -> None:
    file = raw({"a": entry("F32", [dimension, dimension], begin, end)}, 4)
    tracemalloc.start()
    check_hostile(file)
    check_hostile(length.to_bytes(8, "little") + file[8:])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@given(st.dictionaries(names, type_and_shape, max_size=8))
def test_a_written_header_is_read_back_as_it_was(
    tensors: dict[str, tuple[str, tuple[int, ...]]],
) -> None:
    built = build_header((name, dtype, shape) for name, (dtype, shape) in tensors.items())
    data_bytes = sum(math.prod(shape) * ITEM_BYTES[dtype] for dtype, shape in tensors.values())
    assert len(built) % ALIGNMENT == 0
    header = parse_header(built, len(built) + data_bytes, "m")
    assert {t.name: (t.dtype, t.shape) for t in header.tensors} == tensors
    assert sum(t.size_bytes for t in header.tensors) == data_bytes


@pytest.mark.parametrize(
    "name", ["", "a b", 'q"uote\\', "line\nbreak", "λ🙂", "nul\0", "../../x", "x" * 5000]
)
def test_a_tensor_of_an_odd_name_survives_being_written_and_read(name: str) -> None:
    built = build_header([(name, "F32", (2,))])
    (tensor,) = parse_header(built, len(built) + 8, "m").tensors
    assert (tensor.name, tensor.start, tensor.size_bytes) == (name, len(built), 8)


def test_the_safetensors_library_opens_a_file_with_our_header(tmp_path: Path) -> None:
    tensors = {
        "weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "": torch.tensor(7, dtype=torch.int64),
        "λ🙂": torch.zeros(0, 4, dtype=torch.bfloat16),
        "half": torch.tensor([1.5, -2.5], dtype=torch.float16),
    }
    types = {torch.float32: "F32", torch.int64: "I64", torch.bfloat16: "BF16", torch.float16: "F16"}
    header = build_header((name, types[t.dtype], tuple(t.shape)) for name, t in tensors.items())
    data = b"".join(t.flatten().view(torch.uint8).numpy().tobytes() for t in tensors.values())
    file = tmp_path / "m.safetensors"
    file.write_bytes(header + data)
    with safe_open(file, framework="pt") as opened:
        assert opened.metadata() == {"format": "pt"}
        assert set(opened.keys()) == set(tensors)
        for name, tensor in tensors.items():
            assert torch.equal(opened.get_tensor(name), tensor)
            assert opened.get_tensor(name).dtype == tensor.dtype
    assert file.read_bytes()[4096:] == data
