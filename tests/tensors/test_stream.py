"""Positioned reads: the right bytes, from several threads, and never from a file that changed."""

import os
import resource
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from dami_merge.errors import InputRefused
from dami_merge.tensors.stream import MAX_OPEN, Read, Reader

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "one").write_bytes(CONTENT)
    (tmp_path / "two").write_bytes(CONTENT[::-1])
    return tmp_path


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


SIZES = {"one": len(CONTENT), "two": len(CONTENT)}


def test_a_read_fills_its_part_of_the_buffer_and_nothing_else(root: Path) -> None:
    buffer = bytearray(b"." * 32)
    with Reader(root, SIZES) as reader:
        view = reader.read(Read("one", offset=300, position=8, size_bytes=16), memoryview(buffer))
    assert bytes(view) == CONTENT[300:316]
    assert buffer == b"." * 8 + CONTENT[300:316] + b"." * 8


def test_an_empty_read_and_one_to_the_last_byte_work(root: Path) -> None:
    buffer = memoryview(bytearray(len(CONTENT)))
    with Reader(root, SIZES) as reader:
        assert bytes(reader.read(Read("one", 5, 0, 0), buffer)) == b""
        assert bytes(reader.read(Read("two", 0, 0, len(CONTENT)), buffer)) == CONTENT[::-1]


def test_reads_of_several_threads_do_not_disturb_each_other(root: Path) -> None:
    def part(reader: Reader, number: int) -> bytes:
        buffer = memoryview(bytearray(100))
        return bytes(reader.read(Read(("one", "two")[number % 2], number * 100, 0, 100), buffer))

    with Reader(root, SIZES) as reader, ThreadPoolExecutor(8) as pool:
        for number, found in enumerate(pool.map(lambda number: part(reader, number), range(100))):
            source = (CONTENT, CONTENT[::-1])[number % 2]
            assert found == source[number * 100 : number * 100 + 100]


def test_a_file_that_shrank_after_it_was_opened_is_refused(root: Path) -> None:
    buffer = memoryview(bytearray(200))
    with Reader(root, SIZES) as reader:
        reader.read(Read("one", 0, 0, 200), buffer)
        os.truncate(root / "one", 300)
        with pytest.raises(InputRefused, match="one changed while it was read") as caught:
            reader.read(Read("one", 200, 0, 200), buffer)
    assert [problem.code for problem in caught.value.problems] == ["source-changed"]


@pytest.mark.parametrize("size", [0, len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_file_of_another_size_than_its_header_was_read_from_is_refused(size: int, root: Path) -> None:
    os.truncate(root / "two", size)
    with (
        Reader(root, SIZES) as reader,
        pytest.raises(InputRefused, match="two changed while it was read"),
    ):
        reader.read(Read("two", 0, 0, 1), memoryview(bytearray(1)))


def test_a_file_that_is_gone_is_refused(root: Path) -> None:
    (root / "one").unlink()
    with (
        Reader(root, SIZES) as reader,
        pytest.raises(InputRefused, match="one changed while it was read"),
    ):
        reader.read(Read("one", 0, 0, 1), memoryview(bytearray(1)))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_leaving_the_reader_closes_every_file_even_of_refused_ones(root: Path) -> None:
    before = open_files()
    os.truncate(root / "two", 0)
    with Reader(root, SIZES) as reader:
        reader.read(Read("one", 0, 0, 1), memoryview(bytearray(1)))
        with pytest.raises(InputRefused, match="changed"):
            reader.read(Read("two", 0, 0, 1), memoryview(bytearray(1)))
        assert open_files() > before
    assert open_files() == before


@pytest.fixture
def many(tmp_path: Path) -> dict[str, int]:
    """More files than a reader keeps open, of different contents."""
    for number in range(40):
        (tmp_path / f"f{number}").write_bytes(number.to_bytes(1, "little") * 1000)
    return {f"f{number}": 1000 for number in range(40)}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_few_files_of_many_stay_open_and_each_is_read_right(many: dict[str, int], tmp_path: Path) -> None:
    before, most = open_files(), 0
    buffer = memoryview(bytearray(10))
    with Reader(tmp_path, many) as reader:
        for number in [*range(40), *range(0, 40, 3), 39, 0]:
            assert bytes(reader.read(Read(f"f{number}", 7, 0, 10), buffer)) == bytes([number]) * 10
            most = max(most, open_files() - before)
    assert most == MAX_OPEN
    assert open_files() == before


def test_threads_that_read_more_files_than_stay_open_read_the_right_bytes(
    many: dict[str, int], tmp_path: Path
) -> None:
    def part(reader: Reader, number: int) -> bytes:
        buffer = memoryview(bytearray(1000))
        return bytes(reader.read(Read(f"f{number}", 0, 0, 1000), buffer))

    numbers = [number * 7 % 40 for number in range(800)]
    with Reader(tmp_path, many) as reader, ThreadPoolExecutor(16) as pool:
        found = pool.map(lambda number: part(reader, number), numbers)
        assert list(found) == [bytes([number]) * 1000 for number in numbers]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_a_process_that_may_open_no_more_files_is_told_how_to_raise_the_limit(root: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    held = []
    try:
        with suppress(OSError):
            while True:
                held.append(os.open(root / "two", os.O_RDONLY))
        with (
            Reader(root, SIZES) as reader,
            pytest.raises(InputRefused, match="Too many open files") as caught,
        ):
            reader.read(Read("one", 0, 0, 1), memoryview(bytearray(1)))
    finally:
        for handle in held:
            os.close(handle)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "ulimit -n" in caught.value.problems[0].hint
