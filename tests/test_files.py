"""What a run does to a disk: digests, durable writes, publishing, free space, locks."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3

from dami_merge.errors import DiskFull, OutputRefused
from dami_merge.files import (
    CHUNK_BYTES,
    Digest,
    digest_bytes,
    digest_file,
    disk_full_is_clear,
    free_bytes,
    locked,
    publish_folder,
    size_text,
    sync_folder,
    write_durable,
)

EMPTY = "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
"""The published test vector of BLAKE3 for no bytes."""


def raising(number: int) -> object:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_digest_is_blake3_and_says_so() -> None:
    assert digest_bytes(b"") == Digest().text() == EMPTY
    assert digest_bytes(b"dami") == "blake3:" + blake3(b"dami").hexdigest()


def test_a_digest_in_parts_is_the_digest_of_the_whole() -> None:
    digest = Digest()
    for part in (b"da", bytearray(b"m"), memoryview(b"i")):
        digest.update(part)
    assert digest.text() == digest_bytes(b"dami")


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1])
def test_a_file_is_digested_in_steps_that_add_up_to_its_size(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "f").write_bytes(data)
    steps = list(digest_file(tmp_path / "f"))
    assert sum(count for count, _ in steps) == size
    assert max(count for count, _ in steps) <= CHUNK_BYTES
    assert [text for _, text in steps[:-1]] == [""] * (len(steps) - 1)
    assert steps[-1] == (0, digest_bytes(data))


def test_a_small_file_is_written_and_replaced_whole(tmp_path: Path) -> None:
    for data in (b"first, and longer", b"second"):
        write_durable(tmp_path / "grid.json", data)
        assert (tmp_path / "grid.json").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["grid.json"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_write_on_a_full_disk_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    write_durable(tmp_path / "grid.json", b"old")
    monkeypatch.setattr("os.fsync", raising(number))
    with pytest.raises(DiskFull, match=r"^the disk of .* is full \(.*B free\)$") as full:
        write_durable(tmp_path / "grid.json", b"new")
    assert full.value.hint == "free some space and run the same command again"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"grid.json": b"old"}


def test_another_fault_of_the_disk_is_passed_on_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_durable(tmp_path / "grid.json", b"old")
    monkeypatch.setattr("os.fsync", raising(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write_durable(tmp_path / "grid.json", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"grid.json": b"old"}


@pytest.mark.parametrize("resumes", [True, False])
def test_a_full_disk_promises_to_resume_only_where_that_is_true(tmp_path: Path, resumes: bool) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(DiskFull, match="is full") as caught, disk_full_is_clear(tmp_path, resumes=resumes):
        raise full
    assert ("it resumes, nothing is lost" in caught.value.hint) == resumes


def test_nothing_raised_is_nothing_changed(tmp_path: Path) -> None:
    with disk_full_is_clear(tmp_path):
        done = True
    assert done


def test_a_published_folder_has_its_final_name_only(tmp_path: Path) -> None:
    partial, final = tmp_path / "lambda-0.30.partial", tmp_path / "lambda-0.30"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"weights")
    publish_folder(partial, final)
    assert not partial.exists()
    assert (final / "model.safetensors").read_bytes() == b"weights"


def test_publishing_makes_the_files_durable_before_the_name_is_final(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial, final = tmp_path / "a.partial", tmp_path / "a"
    partial.mkdir()
    seen: list[bool] = []
    real = os.fsync

    def watched(handle: int) -> None:
        seen.append(final.exists())
        real(handle)

    monkeypatch.setattr("os.fsync", watched)
    publish_folder(partial, final)
    assert seen == [False, True]


def test_publishing_over_a_finished_folder_is_refused_by_the_system(tmp_path: Path) -> None:
    for name in ("a.partial", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with pytest.raises(OSError, match=r"not empty|exists"):
        publish_folder(tmp_path / "a.partial", tmp_path / "a")
    assert (tmp_path / "a" / "file").read_text() == "a"


def test_a_file_is_no_folder_to_sync(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="Not a directory"):
        sync_folder(tmp_path / "file")


def test_free_space_is_known_for_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "yet" / "there") > 0


def test_a_relative_path_that_does_not_exist_is_measured_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert free_bytes(Path("grid")) > 0


def test_a_second_run_is_refused_with_what_is_worked_on(tmp_path: Path) -> None:
    lock = tmp_path / "out" / ".dami" / "lock"
    lock.parent.mkdir(parents=True)
    message = f"^another run is working on {tmp_path}$"
    with (
        locked(lock, what=tmp_path),
        pytest.raises(OutputRefused, match=message) as no,
        locked(lock, what=tmp_path),
    ):
        pass
    assert "-o" in no.value.hint


def test_a_lock_is_free_after_its_run_even_a_failed_one(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError, match="division"), locked(lock, what=tmp_path):
        _ = 1 // 0
    with locked(lock, what=tmp_path):
        entered = True
    assert entered


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "out" / ".dami" / "lock"
    lock.parent.mkdir(parents=True)
    script = (
        "import sys, time, pathlib\n"
        "from dami_merge.files import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), what=pathlib.Path('x')):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(OutputRefused, match="another run is working"), locked(lock, what=tmp_path):
            pass
        holder.kill()
        holder.wait()
    with locked(lock, what=tmp_path):
        entered = True
    assert entered


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_600, "1 MB"),
        (1_050_000, "1.05 MB"),
        (8_045_591_552, "8.05 GB"),
        (88_500_000_000, "88.5 GB"),
        (1_400_000_000_000, "1.4 TB"),
        (2_000_000_000_000_000, "2e+03 TB"),
    ],
)
def test_a_size_is_written_as_people_read_it(size: int, text: str) -> None:
    assert size_text(size) == text
