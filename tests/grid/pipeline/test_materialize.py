"""One shard at every λ: receipts, order, and what happens to files and threads when something fails."""

import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from dami_merge.errors import DiskFull, InputRefused
from dami_merge.grid.output import Receipt
from dami_merge.grid.pipeline.arithmetic import OnAccelerator
from dami_merge.grid.pipeline.materialize import Materializer
from dami_merge.grid.plan import SLOTS, GridPlan, ShardJob
from dami_merge.lambdas import folder_name
from dami_merge.tensors.kernels import TORCH, Kernel
from tests.checkpoints import near, write_checkpoint
from tests.grid.grids import THREE, assert_interpolated, expected, plan_of, raw

CPU = torch.device("cpu")


def many_tensors() -> dict[str, Tensor]:
    """Two shards' worth in several 64 KiB blocks: small ones, one that spans blocks, integers between."""
    generator = torch.Generator().manual_seed(3)
    tensors: dict[str, Tensor] = {}
    for number in range(40):
        tensors[f"t{number:02d}"] = torch.randn(2003 + number, generator=generator).to(torch.bfloat16)
        tensors[f"t{number:02d}.count"] = torch.arange(number)
    tensors["t99"] = torch.randn(100_003, generator=generator).to(torch.bfloat16)
    return tensors


@pytest.fixture
def nothing_left_open() -> Iterator[None]:
    """No thread and no open file survives."""
    fds = Path("/proc/self/fd")
    if not fds.is_dir():
        pytest.skip("counts open files in /proc")
    before = threading.active_count(), len(list(fds.iterdir()))
    yield
    assert (threading.active_count(), len(list(fds.iterdir()))) == before


def prepared(tmp_path: Path, instruct: dict[str, Tensor], thinking: dict[str, Tensor]) -> GridPlan:
    names = sorted(instruct)
    half = len(names) // 2
    folders = (
        write_checkpoint(tmp_path / "i", instruct, shards=[names[:half], names[half:]]),
        write_checkpoint(tmp_path / "t", thinking),
    )
    return plan_of(folders, tmp_path / "grid", lambdas=THREE, block_bytes=1 << 16)


FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
INTEGERS = (torch.bool, torch.uint8, torch.int16, torch.int64)
Layout = list[tuple[torch.dtype, int, int]]
layouts: st.SearchStrategy[Layout] = st.lists(
    st.tuples(
        st.sampled_from(FLOATS + INTEGERS), st.sampled_from((0, 1, 3, 7, 999, 33_001)), st.integers(0, 9)
    ),
    min_size=1,
    max_size=9,
)


def tensor_at(seed: int, dtype: torch.dtype, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    count = min(count, 99) if dtype == torch.float64 else count  # rationals are the reference, and slow
    if dtype in FLOATS:
        return torch.randn(count, generator=generator, dtype=torch.float64).to(dtype)
    return torch.randint(0, 2, (count,), generator=generator).to(dtype)


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(layouts, st.sampled_from((None, "bfloat16", "float32")), st.integers(1, 3))
def test_any_mix_of_tensors_in_any_order_comes_out_right(
    layout: Layout, dtype: str | None, workers: int
) -> None:
    """Odd sizes of bytes and bools leave every later tensor at an odd place of the buffers."""
    instruct = {f"{order}.{n}": tensor_at(n, kind, size) for n, (kind, size, order) in enumerate(layout)}
    thinking = {
        name: tensor_at(100, tensor.dtype, len(tensor)) if tensor.dtype in FLOATS else tensor
        for name, tensor in instruct.items()
    }
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folders = write_checkpoint(root / "i", instruct), write_checkpoint(root / "t", thinking)
        plan = plan_of(folders, root / "grid", lambdas=THREE, block_bytes=1 << 16, dtype=dtype)
        places = [root / str(number) for number in range(3)]
        for place in places:
            place.mkdir()
        make_all(plan, places, workers)
        for lam, place in zip(THREE, places, strict=True):
            written = getattr(torch, dtype) if dtype else None
            assert_interpolated(place, instruct, thinking, lam, written)


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"out-{number}" for number in range(3)]
    for place in found:
        place.mkdir()
    return found


def test_a_receipt_states_size_digest_and_time_of_every_file(
    tmp_path: Path, places: list[Path], device: str, nothing_left_open: None
) -> None:
    instruct = many_tensors()
    thinking = near(instruct)
    plan = prepared(tmp_path, instruct, thinking)
    advanced: list[int] = []
    with Materializer(plan, torch.device(device), workers=2) as materializer:
        receipts = [made(materializer, shard, places, advanced.append) for shard in plan.shards]
    for shard, receipt in zip(plan.shards, receipts, strict=True):
        assert receipt.shard == shard.name
        assert list(receipt.files) == [folder_name(lam) for lam in THREE]
        for lam, place, written in zip(THREE, places, receipt.files.values(), strict=True):
            content = (place / shard.name).read_bytes()
            assert content.startswith(shard.header)
            assert written.size == len(content) == shard.size_bytes
            assert written.digest == f"blake3:{blake3(content).hexdigest()}"
            assert written.mtime_ns == (place / shard.name).stat().st_mtime_ns
            for name, tensor in load_file(place / shard.name).items():
                want = expected(instruct[name], thinking[name], lam, torch.bfloat16)
                assert raw(tensor) == raw(want), f"{name} at λ={lam}"
    assert sum(advanced) == sum(shard.size_bytes for shard in plan.shards) * 3


def test_source_digests_do_not_depend_on_the_blocks(tmp_path: Path, places: list[Path]) -> None:
    instruct = many_tensors()
    plan = prepared(tmp_path, instruct, near(instruct))
    other = plan_of((tmp_path / "i", tmp_path / "t"), tmp_path / "grid", lambdas=THREE)
    found = []
    for each in (plan, other):
        with Materializer(each, CPU, workers=1) as materializer:
            receipt = made(materializer, each.shards[0], places, lambda _: None)
        found.append((receipt.instruct, receipt.thinking))
    assert found[0] == found[1]
    assert found[0][0] != found[0][1]


def on_an_accelerator(plan: GridPlan, places: list[Path], device: str, kernel: Kernel) -> None:
    """As a GPU is driven; on the CPU with everything in the same order, but at once."""

    class Driven(Materializer):
        def _start_arithmetic(self) -> OnAccelerator:
            buffers = [view for slot in self._slots for view in (slot.instruct, slot.thinking, slot.out)]
            return OnAccelerator(kernel.interpolate, torch.device(device), buffers, slots=SLOTS)

    with Driven(plan, torch.device(device), workers=1) as materializer:
        for shard in plan.shards:
            made(materializer, shard, places, lambda _: None)


@pytest.mark.skipif(sys.platform != "linux", reason="Triton is made for Linux")
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_an_accelerators_pipeline_gives_the_bytes_of_the_cores(
    tmp_path: Path, places: list[Path], device: str, dtype: str | None, nothing_left_open: None
) -> None:
    from dami_merge.tensors.fused import fused_interpolate

    instruct = many_tensors()
    prepared(tmp_path, instruct, near(instruct))
    folders = tmp_path / "i", tmp_path / "t"
    plan = plan_of(folders, tmp_path / "grid", lambdas=THREE, block_bytes=1 << 16, dtype=dtype)
    make_all(plan, places, workers=2)
    want = [(place / shard.name).read_bytes() for place in places for shard in plan.shards]
    for kernel in (TORCH, Kernel("triton", fused_interpolate)):
        on_an_accelerator(plan, places, device, kernel)
        assert [(place / shard.name).read_bytes() for place in places for shard in plan.shards] == want


@pytest.mark.parametrize("allow", [False, True])
def test_an_accelerators_pipeline_finds_what_is_not_finite(
    tmp_path: Path, places: list[Path], device: str, allow: bool, nothing_left_open: None
) -> None:
    """Its answer comes late, when the block is being written."""
    prepared(tmp_path, many_tensors(), spoiled(near(many_tensors()), "t39", 5, float("inf")))
    folders = tmp_path / "i", tmp_path / "t"
    plan = plan_of(folders, tmp_path / "grid", lambdas=THREE, block_bytes=1 << 16, allow_nonfinite=allow)
    if allow:
        on_an_accelerator(plan, places, device, TORCH)
        assert float(load_file(places[2] / plan.shards[1].name)["t39"][5]) == float("inf")
    else:
        with pytest.raises(InputRefused, match=r"'t39' holds inf in thinking"):
            on_an_accelerator(plan, places, device, TORCH)


@pytest.mark.parametrize("before", [1, 2])
def test_torchs_own_threads_are_as_before_after_the_run(before: int, tmp_path: Path) -> None:
    instruct = {"w": torch.ones(3)}
    plan = plan_of(
        (write_checkpoint(tmp_path / "i", instruct), write_checkpoint(tmp_path / "t", instruct)),
        tmp_path / "grid",
    )
    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(before)
        with Materializer(plan, CPU, workers=1):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(usual)


@pytest.mark.parametrize("victim", [0, 1, 2])
def test_a_full_disk_of_one_lambda_reaches_the_caller_and_leaves_nothing_open(
    victim: int, tmp_path: Path, places: list[Path], nothing_left_open: None
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    instruct = many_tensors()
    plan = prepared(tmp_path, instruct, near(instruct))
    plan = replace(plan, endpoints="write")
    (places[victim] / plan.shards[1].name).symlink_to("/dev/full")
    with Materializer(plan, CPU, workers=2) as materializer:
        made(materializer, plan.shards[0], places, lambda _: None)
        with pytest.raises(DiskFull, match="is full"):
            made(materializer, plan.shards[1], places, lambda _: None)


def test_an_error_of_the_caller_reaches_the_caller_and_leaves_nothing_open(
    tmp_path: Path, places: list[Path], nothing_left_open: None
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    instruct = many_tensors()
    plan = prepared(tmp_path, instruct, near(instruct))
    with Materializer(plan, CPU, workers=2) as materializer:
        for shard in plan.shards:
            with pytest.raises(KeyboardInterrupt):
                made(materializer, shard, places, interrupt)
        receipt = made(materializer, plan.shards[0], places, lambda _: None)
    content = (places[1] / plan.shards[0].name).read_bytes()
    assert receipt.files["lambda-0.30"].digest == f"blake3:{blake3(content).hexdigest()}"


def test_buffers_are_not_filled_again_before_they_are_written(tmp_path: Path) -> None:
    """Copying integers to eleven λ is far faster than writing and digesting them."""
    instruct = {"ids": torch.arange(1 << 20)}
    folders = write_checkpoint(tmp_path / "i", instruct), write_checkpoint(tmp_path / "t", instruct)
    plan = plan_of(folders, tmp_path / "grid", block_bytes=1 << 16)
    places = [tmp_path / str(number) for number in range(11)]
    for place in places:
        place.mkdir()
    make_all(plan, places, workers=1)
    for place in places:
        assert torch.equal(load_file(place / "model.safetensors")["ids"], instruct["ids"])


def spoiled(tensors: dict[str, Tensor], name: str, element: int, value: float) -> dict[str, Tensor]:
    changed = {key: tensor.clone() for key, tensor in tensors.items()}
    changed[name][element] = value
    return changed


def made(
    materializer: Materializer, shard: ShardJob, folders: list[Path], advance: Callable[[int], None]
) -> Receipt:
    """Start a shard, and wait until it is durable."""
    return materializer.start(shard, folders, advance, lambda _: None).result()


def make_all(plan: GridPlan, places: list[Path], workers: int) -> None:
    with Materializer(plan, CPU, workers=workers) as materializer:
        for shard in plan.shards:
            made(materializer, shard, places, lambda _: None)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("name", "element"), [("t00", 0), ("t00", -1), ("t05", 0), ("t39", -1), ("t99", 0), ("t99", 99_999)]
)
@pytest.mark.parametrize("side", ["instruct", "thinking"])
def test_the_tensor_that_is_not_finite_is_named_wherever_it_lies(
    name: str, element: int, side: str, workers: int, tmp_path: Path, places: list[Path]
) -> None:
    sides = {"instruct": many_tensors(), "thinking": near(many_tensors())}
    sides[side] = spoiled(sides[side], name, element, float("nan"))
    plan = prepared(tmp_path, sides["instruct"], sides["thinking"])
    with pytest.raises(InputRefused, match=rf"'{name}' holds nan in {side}"):
        make_all(plan, places, workers)


@pytest.mark.parametrize(("name", "element"), [("t01.count", 0), ("t20.count", 7), ("t39.count", -1)])
def test_the_integer_tensor_that_differs_is_named_wherever_it_lies(
    name: str, element: int, tmp_path: Path, places: list[Path]
) -> None:
    plan = prepared(tmp_path, many_tensors(), spoiled(many_tensors(), name, element, -1))
    with pytest.raises(InputRefused, match=rf"the I64 tensor '{name}' differs between the two models"):
        make_all(plan, places, workers=1)
