"""λ = 0 and λ = 1 where they are a source's file, byte for byte: shared when asked for, and never harmed."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dami_merge.errors import InputRefused
from dami_merge.grid.admission import space_needed
from dami_merge.grid.build import build_grid
from dami_merge.grid.plan import EndsMode
from dami_merge.grid.verify import verify
from dami_merge.tensors import writer as module
from dami_merge.tensors.writer import SameFile, ShardWriter, same_file
from tests.checkpoints import near, random_tensors, write_checkpoint
from tests.grid.grids import THREE, plan_of, tree

FILE = "model.safetensors"


def same_layout(tmp_path: Path, tensors: dict[str, Tensor]) -> tuple[Path, Path]:
    return (
        write_checkpoint(tmp_path / "i", tensors),
        write_checkpoint(tmp_path / "t", near(tensors)),
    )


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return same_layout(tmp_path, random_tensors(seed=0))


@pytest.mark.parametrize("endpoints", ["auto", "link", "write"])
def test_the_ends_are_the_sources_files_byte_for_byte_however_they_come_about(
    endpoints: EndsMode, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    built = build_grid(plan_of(pair, tmp_path / "grid", lambdas=THREE, endpoints=endpoints))
    for name, source in (("lambda-0.00", pair[0]), ("lambda-1.00", pair[1])):
        assert (tmp_path / "grid" / name / FILE).read_bytes() == (source / FILE).read_bytes()
    assert verify(tmp_path / "grid").whole
    assert built.shared_files in {"auto": {0, 2}, "link": {2}, "write": {0}}[endpoints]


def test_the_way_the_ends_come_about_changes_no_byte_of_the_grid(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    trees = []
    choices: tuple[EndsMode, ...] = ("auto", "link", "write")
    for endpoints in choices:
        build_grid(plan_of(pair, tmp_path / endpoints, lambdas=THREE, endpoints=endpoints))
        trees.append(tree(tmp_path / endpoints))
    assert trees[0] == trees[1] == trees[2]


def test_a_hard_link_takes_no_room_and_is_not_counted_as_if_it_did(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    plan = plan_of(pair, tmp_path / "grid", lambdas=THREE, endpoints="link")
    assert plan.link_bytes == 2 * plan.checkpoint_bytes
    assert space_needed(plan) == plan.write_bytes - plan.link_bytes
    build_grid(plan)
    assert (tmp_path / "grid/lambda-0.00" / FILE).samefile(pair[0] / FILE)
    assert (tmp_path / "grid/lambda-1.00" / FILE).samefile(pair[1] / FILE)
    assert not (tmp_path / "grid/lambda-0.30" / FILE).samefile(pair[0] / FILE)
    assert plan_of(pair, tmp_path / "other", lambdas=THREE).link_bytes == 0


def test_a_run_that_finds_links_of_a_killed_one_does_not_write_into_the_sources(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """Emptying a file that is a hard link would empty the user's model."""
    before = [(side / FILE).read_bytes() for side in pair]
    build_grid(plan_of(pair, tmp_path / "grid", lambdas=THREE, endpoints="link"))
    plan = plan_of(pair, tmp_path / "grid", lambdas=THREE, endpoints="write")
    build_grid(plan, fresh=True)
    for name in ("lambda-0.00", "lambda-1.00"):
        folder = tmp_path / "grid" / f"{name}.partial"
        folder.mkdir()
        source = pair[name == "lambda-1.00"] / FILE
        (folder / FILE).hardlink_to(source)
        ShardWriter(folder / FILE).close()
    assert [(side / FILE).read_bytes() for side in pair] == before


def test_a_link_to_a_file_of_the_hubs_cache_is_one_to_the_file_itself(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "blob").write_bytes((pair[0] / FILE).read_bytes())
    (pair[0] / FILE).unlink()
    (pair[0] / FILE).symlink_to(tmp_path / "blob")
    build_grid(plan_of(pair, tmp_path / "grid", lambdas=THREE, endpoints="link"))
    made = tmp_path / "grid/lambda-0.00" / FILE
    assert not made.is_symlink()
    assert made.samefile(tmp_path / "blob")


def test_what_is_not_the_same_file_is_written(tmp_path: Path) -> None:
    """Another dtype, other shards, and metadata that are not ours to repeat."""
    tensors = random_tensors(seed=0)
    pair = same_layout(tmp_path, tensors)
    other = plan_of(pair, tmp_path / "grid", lambdas=THREE, dtype="float32", endpoints="link")
    assert {shard.instruct_file for shard in other.shards} == {None}
    names = sorted(tensors)
    cut = write_checkpoint(tmp_path / "cut", near(tensors), shards=[names[:3], names[3:]])
    (shard,) = plan_of((pair[0], cut), tmp_path / "grid", lambdas=THREE).shards
    assert (shard.instruct_file, shard.thinking_file) == (FILE, None)


@pytest.mark.parametrize("number", sorted(module._CANNOT_SHARE))
def test_a_file_system_that_cannot_share_is_no_error(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.ioctl", refuse)
    (tmp_path / "a").write_bytes(b"weights")
    assert same_file(tmp_path / "a", tmp_path / "b", link=False) is None
    assert not (tmp_path / "b").exists()


def test_any_other_error_reaches_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("fcntl.ioctl", fail)
    (tmp_path / "a").write_bytes(b"weights")
    with pytest.raises(OSError, match="Input/output error"):
        same_file(tmp_path / "a", tmp_path / "b", link=False)
    assert not (tmp_path / "b").exists()


def test_a_shared_file_that_is_longer_than_what_was_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"weights")
    shared = SameFile(tmp_path / "a")
    shared.write(b"weight")
    with pytest.raises(InputRefused, match="changed while it was read"):
        shared.finish()


@pytest.fixture
def btrfs(tmp_path: Path) -> Iterator[Path]:
    """A file system with reflinks in a file; needs root, and btrfs in the kernel."""
    image, place = tmp_path / "image", tmp_path / "btrfs"
    if os.geteuid() != 0 or shutil.which("mkfs.btrfs") is None:
        pytest.skip("needs root and mkfs.btrfs")
    with image.open("wb") as file:
        file.truncate(256 << 20)
    place.mkdir()
    subprocess.run(["mkfs.btrfs", "-q", image], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, place], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_reflink_shares_blocks_and_is_a_file_of_its_own(btrfs: Path) -> None:
    tensors = {"w": torch.randn(2_000_000).to(torch.bfloat16)}
    pair = same_layout(btrfs, tensors)
    built = build_grid(plan_of(pair, btrfs / "grid", lambdas=THREE))
    assert built.shared_files == 2
    made = btrfs / "grid/lambda-0.00" / FILE
    assert made.read_bytes() == (pair[0] / FILE).read_bytes()
    assert not made.samefile(pair[0] / FILE)
    kept = (pair[0] / FILE).read_bytes()
    with made.open("r+b") as file:
        file.write(b"\0" * 8)
    assert (pair[0] / FILE).read_bytes() == kept
    assert not verify(btrfs / "grid").whole
