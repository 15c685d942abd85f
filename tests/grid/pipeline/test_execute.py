"""Shards shared out among devices: the same receipts, one caller at a time, a failure stops the others."""

import threading
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dami_merge.errors import InputRefused
from dami_merge.grid.output import Receipt
from dami_merge.grid.pipeline.execute import Hooks, Shards
from dami_merge.grid.pipeline.slots import Tally, Waits
from dami_merge.grid.plan import GridPlan, ShardJob
from tests.checkpoints import near, random_tensors, write_checkpoint
from tests.grid.grids import THREE, assert_interpolated, plan_of

CPU = torch.device("cpu")


def unlocked(shard: str) -> AbstractContextManager[None]:
    """No other process is there."""
    return nullcontext()


def sharded(tmp_path: Path, tensors: dict[str, Tensor], other: dict[str, Tensor], count: int) -> GridPlan:
    names = sorted(tensors)
    folders = (
        write_checkpoint(tmp_path / "i", tensors, shards=[names[k::count] for k in range(count)]),
        write_checkpoint(tmp_path / "t", other),
    )
    return plan_of(folders, tmp_path / "grid", lambdas=THREE, block_bytes=1 << 16)


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"out-{number}" for number in range(len(THREE))]
    for place in found:
        place.mkdir()
    return found


@pytest.mark.parametrize("devices", [1, 2, 3])
def test_any_number_of_devices_makes_every_shard_once_and_calls_back_one_at_a_time(
    devices: int, tmp_path: Path, places: list[Path]
) -> None:
    """The CPU stands for several of a kind: who takes which shard is decided before a device is known."""
    tensors = random_tensors(seed=0)
    plan = sharded(tmp_path, tensors, near(tensors), count=5)
    alone = threading.Lock()
    kept: list[str] = []
    advanced = {shard.name: 0 for shard in plan.shards}

    def advance(shard: ShardJob, count: int) -> None:
        assert alone.acquire(blocking=False)
        advanced[shard.name] += count
        time.sleep(0.002)  # long enough for another to come in, were it let in
        alone.release()

    def keep(receipt: Receipt) -> None:
        kept.append(receipt.shard)

    shards = Shards([CPU] * devices, output_bytes=0)
    threads = torch.get_num_threads()
    tally = shards.make(plan, plan.shards, places, Hooks(unlocked, advance, keep))
    assert torch.get_num_threads() == threads
    assert sorted(kept) == sorted(shard.name for shard in plan.shards)
    assert advanced == {s.name: s.size_bytes * len(THREE) for s in plan.shards}
    assert tally.waits.reading_s + tally.waits.computing_s + tally.waits.writing_s > 0
    for lam, place in zip(THREE, places, strict=True):
        assert_interpolated(place, tensors, near(tensors), lam)


@pytest.mark.parametrize("devices", [1, 2])
def test_a_failure_reaches_the_caller_and_what_was_finished_is_kept(
    devices: int, tmp_path: Path, places: list[Path]
) -> None:
    tensors = {f"t{number}": torch.ones(5000, dtype=torch.bfloat16) for number in range(5)}
    other = near(tensors)
    other["t3"][7] = float("nan")
    plan = sharded(tmp_path, tensors, other, count=5)
    kept: list[str] = []
    with pytest.raises(InputRefused, match="'t3' holds nan in thinking"):
        Shards([CPU] * devices, output_bytes=0).make(
            plan,
            plan.shards,
            places,
            Hooks(unlocked, lambda *_: None, lambda receipt: kept.append(receipt.shard)),
        )
    broken = next(shard.name for shard in plan.shards if shard.tensors[0].name == "t3")
    before = [shard.name for shard in plan.shards if shard.name < broken]
    assert broken not in kept
    assert set(before[: len(before) - devices + 1]) <= set(kept)


def test_after_a_failure_on_one_device_the_others_begin_nothing_more(
    tmp_path: Path, places: list[Path]
) -> None:
    tensors = {f"t{number:02d}": torch.ones(50, dtype=torch.bfloat16) for number in range(40)}
    other = near(tensors)
    other["t00"][7] = float("nan")
    plan = sharded(tmp_path, tensors, other, count=40)
    kept: list[str] = []
    with pytest.raises(InputRefused, match="'t00' holds nan in thinking"):
        Shards([CPU, CPU], output_bytes=0).make(
            plan,
            plan.shards,
            places,
            Hooks(unlocked, lambda *_: time.sleep(0.02), lambda receipt: kept.append(receipt.shard)),
        )
    assert len(kept) < 20, "39 are whole"


def test_an_interrupt_in_a_callback_stops_all_devices(tmp_path: Path, places: list[Path]) -> None:
    tensors = random_tensors(seed=0)
    plan = sharded(tmp_path, tensors, near(tensors), count=5)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        Shards([CPU, CPU], output_bytes=0).make(
            plan, plan.shards, places, Hooks(unlocked, interrupt, lambda _: None)
        )
    assert threading.active_count() == threads


@pytest.mark.parametrize("devices", [1, 2])
def test_the_tally_counts_the_shared_files_of_all_devices(
    devices: int, tmp_path: Path, places: list[Path]
) -> None:
    tensors = random_tensors(seed=0)
    plan = replace(sharded(tmp_path, tensors, near(tensors), count=4), endpoints="link")
    tally = Shards([CPU] * devices, output_bytes=0).make(
        plan, plan.shards, places, Hooks(unlocked, lambda *_: None, lambda _: None)
    )
    assert tally.shared == 4, "λ = 0 of four shards; Thinking is one file"
    assert all((places[0] / shard.name).stat().st_nlink == 2 for shard in plan.shards)


def test_a_run_is_direct_only_if_every_part_of_it_was() -> None:
    assert (Tally(direct=True) + Tally(direct=True)).direct
    assert not (Tally(direct=True) + Tally(direct=False)).direct
    assert not (Tally(direct=False) + Tally(direct=True)).direct
    both = Tally(shared=2, waits=Waits(1, 2, 3)) + Tally(shared=3, waits=Waits(10, 20, 30))
    assert (both.shared, both.waits) == (5, Waits(11, 22, 33))
