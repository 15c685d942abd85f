"""A shard is written front to back, digested from the bytes that were given, and durable at the end."""

import mmap
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from dami_merge.errors import DiskFull
from dami_merge.files import free_bytes
from dami_merge.tensors.writer import PAGE_BYTES, ShardWriter


def test_bytes_lie_in_their_order_and_the_facts_are_of_the_file(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "shard")
    for part in (b"one", memoryview(b"two"), b"", memoryview(bytearray(b"x" * 100_000))):
        writer.write(part)
    size, digest, mtime_ns = msgspec.structs.astuple(writer.finish())
    content = (tmp_path / "shard").read_bytes()
    assert content == b"onetwo" + b"x" * 100_000
    assert (size, mtime_ns) == (100_006, (tmp_path / "shard").stat().st_mtime_ns)
    assert digest == f"blake3:{blake3(content).hexdigest()}"


def test_a_reused_buffer_may_be_overwritten_after_each_write(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "shard")
    buffer = bytearray(4)
    for byte in b"ab":
        buffer[:] = bytes([byte]) * 4
        writer.write(memoryview(buffer))
    writer.finish()
    assert (tmp_path / "shard").read_bytes() == b"aaaabbbb"


def test_the_longer_remains_of_a_killed_run_are_gone(tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(b"remains of a killed run")
    writer = ShardWriter(tmp_path / "shard")
    writer.write(b"new")
    assert writer.finish().size == 3
    assert (tmp_path / "shard").read_bytes() == b"new"


def test_a_shard_without_bytes_has_the_digest_of_nothing(tmp_path: Path) -> None:
    empty = ShardWriter(tmp_path / "shard").finish()
    assert (empty.size, empty.digest) == (0, f"blake3:{blake3(b'').hexdigest()}")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_closing_twice_or_after_the_end_is_harmless(tmp_path: Path) -> None:
    before = open_files()
    finished, given_up = ShardWriter(tmp_path / "one"), ShardWriter(tmp_path / "two")
    finished.finish()
    finished.close()
    given_up.close()
    given_up.close()
    assert open_files() == before


def test_a_disk_without_room_is_told_with_the_way_out() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    writer = ShardWriter(Path("/dev/full"))
    with pytest.raises(DiskFull, match="the disk of /dev is full") as caught:
        writer.write(b"x")
    writer.close()
    assert "resumes" in caught.value.hint


@contextmanager
def file_size_limit(size_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_failure_that_is_not_about_space_is_not_called_a_full_disk(tmp_path: Path) -> None:
    """The system writes what fits, then refuses: a short write is continued, the refusal is passed on."""
    writer = ShardWriter(tmp_path / "shard", direct=False)
    with file_size_limit(10_000), pytest.raises(OSError, match="File too large"):
        writer.write(b"x" * 20_000)
    writer.close()
    assert (tmp_path / "shard").stat().st_size == 10_000


@pytest.fixture
def page_aligned() -> memoryview:
    """64 pages of bytes that differ from one another, at a page boundary."""
    memory = mmap.mmap(-1, 64 * PAGE_BYTES)
    memory.write(os.urandom(64 * PAGE_BYTES))
    return memoryview(memory)


PIECES = st.lists(st.tuples(st.integers(0, 40 * PAGE_BYTES), st.booleans()), max_size=8)


@settings(max_examples=60, deadline=None)
@given(pieces=PIECES, direct=st.booleans(), reserve=st.booleans())
def test_pieces_of_any_size_and_place_come_out_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[int, bool]], direct: bool, reserve: bool
) -> None:
    """Whole pages at page boundaries go to the disk as they are, the rest is gathered: no byte may differ."""
    memory = mmap.mmap(-1, 41 * PAGE_BYTES)
    memory.write(bytes(range(256)) * (41 * PAGE_BYTES // 256))
    path = tmp_path_factory.mktemp("pieces") / "shard"
    views = [memoryview(memory)[0 if on_page else 3 :][:size] for size, on_page in pieces]
    want = b"".join(views)
    writer = ShardWriter(path, expected_bytes=len(want) if reserve else 0, direct=direct)
    for view in views:
        writer.write(view)
    size, digest, _ = msgspec.structs.astuple(writer.finish())
    assert path.read_bytes() == want
    assert (size, digest) == (len(want), f"blake3:{blake3(want).hexdigest()}")


def test_the_writer_says_truly_whether_it_passes_the_page_cache_by(
    tmp_path: Path, page_aligned: memoryview
) -> None:
    """The writer says how it wrote; where it wrote direct, the flag is on the open file."""
    writer = ShardWriter(tmp_path / "shard", expected_bytes=len(page_aligned))
    buffered = ShardWriter(tmp_path / "other", direct=False)
    flags = Path(f"/proc/self/fdinfo/{writer._handle}")
    if writer.direct and flags.exists():
        octal = flags.read_text().split("flags:")[1].split()[0]
        assert int(octal, 8) & os.O_DIRECT
    assert buffered.direct is False
    writer.write(page_aligned)
    writer.close()
    buffered.close()


def test_more_than_the_disk_has_is_refused_without_taking_what_there_is(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "probe")
    direct = writer.direct
    writer.close()
    if not direct:
        pytest.skip("this file system has no direct writes, so nothing is reserved")
    with pytest.raises(DiskFull, match="is full"):
        ShardWriter(tmp_path / "shard", expected_bytes=2 * free_bytes(tmp_path))
    assert (tmp_path / "shard").stat().st_blocks == 0
