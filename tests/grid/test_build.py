"""Whole grids of real tiny checkpoints, against an independent computation."""

import json
import math
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dami_merge.errors import InputRefused
from dami_merge.files import Digest
from dami_merge.grid.build import BuildProgress, build_grid
from dami_merge.grid.pipeline.materialize import Materializer
from dami_merge.lambdas import even_grid, folder_name
from tests.checkpoints import CONFIG, near, random_tensors, write_checkpoint
from tests.grid.grids import THREE, assert_interpolated, plan_of, raw, tree, weights_of

HALF = (Fraction(1, 2),)


def write_pair(folder: Path, instruct: dict[str, Tensor], thinking: dict[str, Tensor]) -> tuple[Path, Path]:
    return write_checkpoint(folder / "i", instruct), write_checkpoint(folder / "t", thinking)


def test_the_default_grid_has_eleven_checkpoints_each_interpolated_bit_for_bit(
    pair_folders: tuple[Path, Path], tmp_path: Path, device: str
) -> None:
    instruct, thinking = weights_of(pair_folders[0]), weights_of(pair_folders[1])
    built = build_grid(plan_of(pair_folders, tmp_path / "grid"), device=device)
    folders = [path.name for path in sorted((tmp_path / "grid").iterdir())]
    assert folders == [".dami-merge", "grid.json", *(f"lambda-{k / 10:.2f}" for k in range(11))]
    assert [member.lam for member in built.grid.checkpoints] == [Fraction(k, 10) for k in range(11)]
    for member in built.grid.checkpoints:
        assert_interpolated(tmp_path / "grid" / member.path, instruct, thinking, member.lam)


def test_the_endpoints_hold_the_sources_tensor_bytes(
    pair_folders: tuple[Path, Path], tmp_path: Path, device: str
) -> None:
    special = torch.tensor([0x8000, 0x0001, 0x8001, 0x7F7F], dtype=torch.int32).to(torch.int16)
    instruct = random_tensors(seed=0) | {"odd": special.view(torch.bfloat16)}
    thinking = random_tensors(seed=1) | {"odd": special.flip(0).view(torch.bfloat16)}
    build_grid(
        plan_of(write_pair(tmp_path, instruct, thinking), tmp_path / "grid", lambdas=THREE), device=device
    )
    for source, end in ((instruct, "lambda-0.00"), (thinking, "lambda-1.00")):
        found = weights_of(tmp_path / "grid" / end)
        assert {name: raw(found[name]) for name in found} == {name: raw(source[name]) for name in source}


def test_every_odd_lambda_has_its_folder_and_its_weights(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    lambdas = tuple(map(Fraction, ("1/4096", "1/3", "3/8", "4095/4096")))
    build_grid(plan_of(pair_folders, tmp_path / "grid", lambdas=lambdas))
    for lam in lambdas:
        sides = weights_of(pair_folders[0]), weights_of(pair_folders[1])
        assert_interpolated(tmp_path / "grid" / folder_name(lam), *sides, lam)


def test_sides_with_other_shards_are_matched_by_name_and_the_instruct_layout_is_kept(tmp_path: Path) -> None:
    instruct = random_tensors(seed=0)
    thinking = near(instruct)
    names = sorted(instruct)
    folders = (
        write_checkpoint(tmp_path / "i", instruct, shards=[names[:3], names[3:]]),
        write_checkpoint(tmp_path / "t", thinking, shards=[names[::3], names[1::3], names[2::3]]),
    )
    built = build_grid(plan_of(folders, tmp_path / "grid", lambdas=THREE))
    shards = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    assert built.made == shards
    for lam in THREE:
        folder = tmp_path / "grid" / folder_name(lam)
        assert_interpolated(folder, instruct, thinking, lam)
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        assert index["weight_map"] == {name: shards[name not in names[:3]] for name in names}
        assert index["metadata"]["total_size"] == sum(t.nbytes for t in instruct.values())


def test_shards_in_a_subfolder_are_written_there(tmp_path: Path) -> None:
    instruct = random_tensors(seed=0)
    thinking = near(instruct)
    folders = write_pair(tmp_path, instruct, thinking)
    (folders[0] / "part").mkdir()
    (folders[0] / "model.safetensors").rename(folders[0] / "part" / "one.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(instruct, "part/one.safetensors")}
    (folders[0] / "model.safetensors.index.json").write_text(json.dumps(index))
    build_grid(plan_of(folders, tmp_path / "grid", lambdas=HALF))
    again = build_grid(plan_of(folders, tmp_path / "grid", lambdas=HALF))
    assert again.made == ()
    assert_interpolated(tmp_path / "grid" / "lambda-0.50" / "part", instruct, thinking, HALF[0])


def test_tied_embeddings_need_no_output_layer(tmp_path: Path) -> None:
    config = {**CONFIG, "tie_word_embeddings": True}
    instruct = random_tensors(seed=0)
    del instruct["lm_head.weight"]
    thinking = near(instruct)
    folders = (
        write_checkpoint(tmp_path / "i", instruct, config=config),
        write_checkpoint(tmp_path / "t", thinking, config=config),
    )
    build_grid(plan_of(folders, tmp_path / "grid", lambdas=HALF))
    assert_interpolated(tmp_path / "grid" / "lambda-0.50", instruct, thinking, HALF[0])


def integers() -> dict[str, Tensor]:
    kinds = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    return {str(kind): torch.arange(5).to(kind) for kind in kinds} | {
        "mask": torch.tensor([True, False, True]),
        "bin.uint16": torch.tensor([1, 65535], dtype=torch.uint16),
    }


def test_equal_integer_and_bool_tensors_are_copied(tmp_path: Path, device: str) -> None:
    instruct = random_tensors(seed=0) | integers()
    thinking = near(instruct)
    folders = write_pair(tmp_path, instruct, thinking)
    build_grid(plan_of(folders, tmp_path / "grid", lambdas=THREE), device=device)
    for lam in THREE:
        assert_interpolated(tmp_path / "grid" / folder_name(lam), instruct, thinking, lam)


@pytest.mark.parametrize("name", sorted(integers()))
def test_an_integer_tensor_that_differs_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    instruct = {"a.weight": torch.ones(3, dtype=torch.bfloat16), **integers()}
    thinking = {key: tensor.clone() for key, tensor in instruct.items()}
    thinking[name][-1] = 0
    folders = write_pair(tmp_path, instruct, thinking)
    with pytest.raises(InputRefused, match=rf"tensor '{name}' differs between the two models") as caught:
        build_grid(plan_of(folders, tmp_path / "grid", lambdas=HALF))
    assert [problem.code for problem in caught.value.problems] == ["integer-differs"]
    assert not (tmp_path / "grid" / "grid.json").exists()
    assert not (tmp_path / "grid" / "lambda-0.50").exists()


def test_empty_scalar_and_oddly_named_tensors_come_through(tmp_path: Path, device: str) -> None:
    generator = torch.Generator().manual_seed(7)
    shapes = {
        "scalar": (), "empty": (0,), "empty.matrix": (3, 0, 2), "one": (1,), "deep": (1, 1, 1, 3),
        "a/b\\c": (3,), " space and\ttab ": (2,), "emoji 🦙 λ": (5,), "quote\"'": (1,), "new\nline": (2,),
        "..": (2,), "": (2,), "%2F": (1,), "x" * 300: (1,), "weight.weight": (7,),
    }  # fmt: skip
    instruct = {
        name: torch.randn(shape, generator=generator).to(torch.bfloat16) for name, shape in shapes.items()
    }
    thinking = near(instruct)
    build_grid(
        plan_of(write_pair(tmp_path, instruct, thinking), tmp_path / "grid", lambdas=THREE), device=device
    )
    for lam in THREE:
        assert_interpolated(tmp_path / "grid" / folder_name(lam), instruct, thinking, lam)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_other_float_dtypes_keep_their_dtype(dtype: torch.dtype, tmp_path: Path, device: str) -> None:
    instruct = random_tensors(seed=0, dtype=dtype)
    thinking = near(instruct)
    folders = write_pair(tmp_path, instruct, thinking)
    build_grid(plan_of(folders, tmp_path / "grid", lambdas=THREE), device=device)
    for lam in THREE:
        assert_interpolated(tmp_path / "grid" / folder_name(lam), instruct, thinking, lam)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("bfloat16", torch.bfloat16),
        ("float16", torch.float16),
        ("float32", torch.float32),
        ("float64", torch.float64),
    ],
)
def test_a_pair_of_mixed_dtypes_is_written_in_the_dtype_that_was_asked_for(
    name: str, dtype: torch.dtype, tmp_path: Path, device: str
) -> None:
    kinds = [torch.float32, torch.bfloat16, torch.float16]
    whole = random_tensors(seed=0, dtype=torch.float32)
    instruct = {key: t.to(kinds[number % 3]) for number, (key, t) in enumerate(whole.items())} | integers()
    thinking = {
        key: t.to(kinds[number % 2]) if t.is_floating_point() else t
        for number, (key, t) in enumerate(near(whole | integers()).items())
    }
    folders = write_pair(tmp_path, instruct, thinking)
    plan = plan_of(folders, tmp_path / "grid", lambdas=THREE, dtype=name)
    build_grid(plan, device=device)
    for lam in THREE:
        folder = tmp_path / "grid" / folder_name(lam)
        assert_interpolated(folder, instruct, thinking, lam, dtype)
        assert json.loads((folder / "config.json").read_text())["dtype"] == name


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["instruct", "thinking"])
def test_a_value_that_is_not_finite_is_refused_with_tensor_and_side(
    value: float, side: str, tmp_path: Path
) -> None:
    sides = {"instruct": random_tensors(seed=0), "thinking": random_tensors(seed=1)}
    sides[side]["model.norm.weight"][3] = value
    folders = write_pair(tmp_path, sides["instruct"], sides["thinking"])
    with pytest.raises(InputRefused, match=rf"'model.norm.weight' holds {value} in {side}") as caught:
        build_grid(plan_of(folders, tmp_path / "grid", lambdas=HALF))
    assert "--allow-nonfinite" in caught.value.problems[0].hint
    assert not (tmp_path / "grid" / "grid.json").exists()


def test_values_that_are_not_finite_are_interpolated_when_allowed(tmp_path: Path) -> None:
    instruct = {"w": torch.tensor([1.0, math.nan, math.inf, -math.inf, math.inf], dtype=torch.bfloat16)}
    thinking = {"w": torch.tensor([3.0, 1.0, 1.0, math.inf, math.inf], dtype=torch.bfloat16)}
    folders = write_pair(tmp_path, instruct, thinking)
    lambdas = (Fraction(0), Fraction(1, 2))
    build_grid(plan_of(folders, tmp_path / "grid", lambdas=lambdas, allow_nonfinite=True))
    assert raw(weights_of(tmp_path / "grid" / "lambda-0.00")["w"]) == raw(instruct["w"])
    found = weights_of(tmp_path / "grid" / "lambda-0.50")["w"].tolist()
    assert [str(value) for value in found] == ["2.0", "nan", "inf", "nan", "inf"]


def several_blocks(seed: int) -> dict[str, Tensor]:
    """About 500 kB in odd sizes, so that blocks of 64 KiB end in the middle of tensors."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {
        f"layer.{number}": torch.randn(size, generator=generator).to(torch.bfloat16)
        for number, size in enumerate((100_003, 7, 1, 65_536, 33))
    }
    tensors["mask"] = torch.ones(4099, dtype=torch.bool)
    tensors["wide"] = torch.randn(17_001, generator=generator)
    return tensors


def test_the_block_size_does_not_change_a_byte(tmp_path: Path, device: str) -> None:
    instruct, thinking = several_blocks(0), several_blocks(1)
    folders = write_pair(tmp_path, instruct, thinking)
    trees = []
    for block_bytes in (1 << 16, (1 << 16) + 4096, 1 << 22):
        output = tmp_path / f"grid-{block_bytes}"
        build_grid(plan_of(folders, output, lambdas=THREE, block_bytes=block_bytes), device=device)
        trees.append(tree(output))
    assert trees[0] == trees[1] == trees[2]
    for lam in THREE:
        assert_interpolated(tmp_path / "grid-65536" / folder_name(lam), instruct, thinking, lam)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_the_number_of_workers_does_not_change_a_byte(workers: int, tmp_path: Path) -> None:
    folders = write_pair(tmp_path, several_blocks(0), several_blocks(1))
    plan = plan_of(folders, tmp_path / "grid", lambdas=THREE, block_bytes=1 << 16)
    places = [tmp_path / str(number) for number in range(len(THREE))]
    for place in places:
        place.mkdir()
    with Materializer(plan, torch.device("cpu"), workers=workers) as materializer:
        materializer.start(plan.shards[0], places, lambda _: None, lambda _: None).result()
    for lam, place in zip(THREE, places, strict=True):
        assert_interpolated(place, several_blocks(0), several_blocks(1), lam)


def test_the_recorded_source_digests_are_of_the_bytes_on_disk(tmp_path: Path) -> None:
    folders = write_pair(tmp_path, several_blocks(0), several_blocks(1))
    built = build_grid(plan_of(folders, tmp_path / "grid", lambdas=HALF, block_bytes=1 << 16))
    content = (folders[0] / "model.safetensors").read_bytes()
    digest = Digest()
    digest.update(content[8 + struct.unpack("<Q", content[:8])[0] :])
    assert built.grid.instruct.tensors == {"model.safetensors": digest.text()}
    assert built.grid.thinking.tensors != built.grid.instruct.tensors


COUNTING_RUN = """
import sys
from pathlib import Path
from dami_merge.grid.build import build_grid
from dami_merge.tensors.device import choose_device
from dami_merge.lambdas import even_grid
from dami_merge.tensors.compiled import compiled_interpolate
from dami_merge.tensors.kernels import fastest
from fractions import Fraction
from tests.grid.grids import plan_of
import torch
import safetensors.numpy

def counted(name, field):
    lines = Path("/proc/self", name).read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))

folders, output, block_bytes, steps = sys.argv[1:3], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
plan = plan_of((Path(folders[0]), Path(folders[1])), Path(output), block_bytes=block_bytes,
               lambdas=even_grid(steps))
fastest(choose_device("cpu"), output_bytes=plan.checkpoint_bytes * len(plan.lambdas))
compiled_interpolate(torch.zeros(1, dtype=torch.bfloat16), torch.zeros(1, dtype=torch.bfloat16),
                     [Fraction(1, 2)], torch.zeros(1, 1, dtype=torch.bfloat16))
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
read, peak = counted("io", "rchar"), counted("status", "VmHWM")
built = build_grid(plan, device="cpu")
print(counted("io", "rchar") - read, (counted("status", "VmHWM") - peak) * 1024, plan.memory_bytes)
"""


def counting_run(folders: tuple[Path, Path], output: Path, *, block_bytes: int, steps: int) -> list[int]:
    """Bytes read, peak of resident memory above the start, and the bound that the plan states."""
    command = [sys.executable, "-c", COUNTING_RUN, *map(str, (*folders, output, block_bytes, steps))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("dtype", "rows", "block_bytes"),
    [(torch.bfloat16, 24_000, 1 << 16), (torch.float64, 6_000, 1 << 20)],
    ids=["bfloat16", "float64"],
)
def test_both_sources_are_read_once_and_memory_keeps_its_bound_whatever_the_models_size(
    dtype: torch.dtype, rows: int, block_bytes: int, tmp_path: Path
) -> None:
    """96 MB a side, a bound of 34 or 49 MB: nothing that grows with the model would fit."""
    generator = torch.Generator().manual_seed(0)
    sizes = {"embed": (rows, 1000), "a": (rows // 2, 1000), "b": (rows // 2, 1000)}
    folders = (tmp_path / "i", tmp_path / "t")
    for folder in folders:
        write_checkpoint(folder, {"x": torch.zeros(1)})
        values = {
            name: torch.empty(shape, dtype=dtype).normal_(generator=generator)
            for name, shape in sizes.items()
        }
        save_file(values, folder / "model.safetensors")
        del values
    sources = sum((folder / "model.safetensors").stat().st_size for folder in folders)
    read, peak, bound = counting_run(folders, tmp_path / "grid", block_bytes=block_bytes, steps=2)
    assert bound < sources * 0.3
    assert peak <= bound
    # The rest: small files, headers of outputs, Python modules.
    assert sources * 0.999 < read < sources * 1.05


def test_progress_counts_every_byte_of_every_lambda(tmp_path: Path) -> None:
    folders = write_pair(tmp_path, several_blocks(0), several_blocks(1))
    plan = plan_of(folders, tmp_path / "grid", lambdas=THREE, block_bytes=1 << 16)
    seen: list[BuildProgress] = []
    built = build_grid(plan, on_progress=seen.append)
    done = [progress.done_bytes for progress in seen]
    assert done == sorted(done)
    assert len(done) > 5
    assert done[0] == 0
    assert done[-1] == seen[-1].total_bytes == plan.checkpoint_bytes * 3
    assert built.written_bytes == plan.checkpoint_bytes * 3
    assert {progress.resumed_bytes for progress in seen} == {0}
    again: list[BuildProgress] = []
    assert build_grid(plan, on_progress=again.append).written_bytes == 0
    assert again == []


def test_sidecars_are_the_donors_bytes(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    plan = plan_of(pair_folders, tmp_path / "grid", lambdas=THREE)
    built = build_grid(plan)
    for member, donor in zip(built.grid.checkpoints, (0, 1, 1), strict=True):
        folder = tmp_path / "grid" / member.path
        for name in ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json", "config.json"):
            assert (folder / name).read_bytes() == (pair_folders[donor] / name).read_bytes()
        assert member.donor == ("instruct", "thinking")[donor]
        on_disk = {path.name for path in folder.iterdir()}
        assert {file.name for file in member.files} == on_disk
        assert "README.md" in on_disk


def test_one_donor_for_all_is_kept(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    build_grid(plan_of(pair_folders, tmp_path / "grid", lambdas=THREE, donor="instruct"))
    for lam in THREE:
        template = (tmp_path / "grid" / folder_name(lam) / "chat_template.jinja").read_text()
        assert template == "{{ instruct }}"


def test_the_bundled_pair_builds(tmp_path: Path) -> None:
    folders = Path("bundled:tiny/instruct"), Path("bundled:tiny/thinking")
    built = build_grid(plan_of(folders, tmp_path / "grid", lambdas=even_grid(2)))
    assert len(built.grid.checkpoints) == 3
