"""A shard is written front to back, digested from the bytes that were given, and durable at the end."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from blake3 import blake3

from dami_merge.errors import DiskFull
from dami_merge.tensors.writer import ShardWriter


def test_bytes_lie_in_their_order_and_the_facts_are_of_the_file(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "shard")
    for part in (b"one", memoryview(b"two"), b"", memoryview(bytearray(b"x" * 100_000))):
        writer.write(part)
    size, digest, mtime_ns = writer.finish()
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
    assert writer.finish()[0] == 3
    assert (tmp_path / "shard").read_bytes() == b"new"


def test_a_shard_without_bytes_has_the_digest_of_nothing(tmp_path: Path) -> None:
    assert ShardWriter(tmp_path / "shard").finish()[:2] == (0, f"blake3:{blake3(b'').hexdigest()}")


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
    writer = ShardWriter(tmp_path / "shard")
    with file_size_limit(10_000), pytest.raises(OSError, match="File too large"):
        writer.write(b"x" * 20_000)
    writer.close()
    assert (tmp_path / "shard").stat().st_size == 10_000
