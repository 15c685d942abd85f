"""A plan says what will be done, from headers alone and without torch."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from dami_merge.checkpoint.header import parse_header
from dami_merge.errors import OutputRefused, UsageError
from dami_merge.grid.build import build_grid
from dami_merge.grid.plan import GridPlan
from dami_merge.grid.seal import config_bytes, index_bytes, inventory_digest
from dami_merge.lambdas import even_grid
from dami_merge.tensors.writer import GATHER_BYTES
from tests.checkpoints import CONFIG, near, random_tensors, write_checkpoint, write_json
from tests.grid.grids import THREE, member_at, plan_of, tree

HALF = Fraction(1, 2)

DRY_RUN = """
import sys
from pathlib import Path
from dami_merge.checkpoint.pair import join
from dami_merge.checkpoint.source import open_both
from dami_merge.grid.admission import refuse_folder, require_space
from dami_merge.grid.planning import make_plan
from dami_merge.grid.seal import config_bytes, index_bytes, inventory_digest
from dami_merge.grid.recipe import Recipe
recipe = Recipe(instruct=sys.argv[1], thinking=sys.argv[2])
plan = make_plan(recipe, join(*open_both(recipe.instruct, recipe.thinking)), Path(sys.argv[3]))
refuse_folder(plan, fresh=False)
require_space(plan)
config_bytes(plan, plan.members[1]), index_bytes(plan), inventory_digest(plan)
print(plan.write_bytes, sorted({"torch", "numpy", "transformers", "click"} & sys.modules.keys()))
"""


def test_a_dry_plan_needs_no_torch_and_writes_nothing(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", DRY_RUN, *map(str, pair_folders), str(tmp_path / "grid")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    plan = plan_of(pair_folders, tmp_path / "grid")
    assert done.stdout == f"{plan.write_bytes} []\n"
    assert not (tmp_path / "grid").exists()


def test_the_plan_states_the_bytes_that_the_run_then_writes(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    plan = plan_of(pair_folders, tmp_path / "grid")
    files = tree(build_grid(plan).path)
    weights = {name: data for name, data in files.items() if name.endswith(".safetensors")}
    assert plan.checkpoint_bytes * 11 == sum(map(len, weights.values()))
    sidecars = ("chat_template.jinja", "tokenizer.json", "tokenizer_config.json")
    small = sum(len(data) for name, data in files.items() if name.endswith(sidecars))
    assert plan.sidecar_bytes == small
    assert plan.write_bytes == plan.checkpoint_bytes * 11 + plan.sidecar_bytes
    assert plan.read_bytes == sum((folder / "model.safetensors").stat().st_size for folder in pair_folders)
    assert plan.download_bytes == 0


def test_the_planned_header_is_the_written_one_and_starts_the_data_on_a_page(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    plan = plan_of(pair_folders, tmp_path / "grid", dtype="float32")
    (shard,) = plan.shards
    header = parse_header(shard.header, shard.size_bytes, shard.name)
    assert len(shard.header) % 4096 == 0
    assert [(t.name, t.start) for t in header.tensors] == [(job.name, job.start) for job in shard.tensors]
    assert {tensor.dtype for tensor in header.tensors} == {"F32"}


def test_memory_depends_on_block_size_and_lambdas_and_not_on_the_models(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    large = {"w": torch.zeros(500_000, dtype=torch.bfloat16)}
    others = write_checkpoint(tmp_path / "large-i", large), write_checkpoint(tmp_path / "large-t", large)
    small, big = plan_of(pair_folders, tmp_path / "grid"), plan_of(others, tmp_path / "grid")
    assert small.memory_bytes == big.memory_bytes
    fewer = plan_of(pair_folders, tmp_path / "grid", lambdas=THREE)
    assert small.memory_bytes - fewer.memory_bytes == 8 * (3 * small.block_bytes + 2 * GATHER_BYTES)
    smaller = plan_of(pair_folders, tmp_path / "grid", block_bytes=1 << 16)
    assert small.memory_bytes - smaller.memory_bytes == 3 * 13 * (small.block_bytes - (1 << 16))


@pytest.mark.parametrize("block_bytes", [-4096, 0, 4, (1 << 16) - 1, (1 << 16) + 8])
def test_blocks_too_small_to_be_worth_a_step_or_off_the_pages_are_refused(
    block_bytes: int, pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(
        UsageError, match=f"the block size of {block_bytes} bytes must be at least 65536 and a multiple"
    ):
        plan_of(pair_folders, tmp_path / "grid", block_bytes=block_bytes)


@pytest.mark.parametrize("where", ["", "grid", "a/b/c"])
@pytest.mark.parametrize("side", [0, 1])
def test_an_output_in_a_source_is_refused(where: str, side: int, pair_folders: tuple[Path, Path]) -> None:
    with pytest.raises(OutputRefused, match=r"the output .* is inside the source .*toy-"):
        plan_of(pair_folders, pair_folders[side] / where)


def test_a_source_in_the_output_is_refused(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(OutputRefused, match=r"the source .*toy-instruct is inside the output"):
        plan_of(pair_folders, tmp_path)


def test_an_output_that_reaches_a_source_through_a_link_is_refused(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(pair_folders[1])
    with pytest.raises(OutputRefused, match=r"link/grid is inside the source"):
        plan_of(pair_folders, tmp_path / "link" / "grid")
    detour = tmp_path / "elsewhere" / ".." / "toy-thinking" / "grid"
    with pytest.raises(OutputRefused, match="is inside the source"):
        plan_of(pair_folders, detour)


def test_a_sibling_with_a_longer_name_is_no_nesting(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    assert plan_of(pair_folders, tmp_path / "toy-instruct-grid").output.name == "toy-instruct-grid"


def configured(tmp_path: Path, config: dict[str, object], dtype: str | None = None) -> GridPlan:
    tensors = random_tensors(seed=0)
    folders = (
        write_checkpoint(tmp_path / "i", tensors, config=config),
        write_checkpoint(tmp_path / "t", near(tensors), config=config),
    )
    return plan_of(folders, tmp_path / "grid", lambdas=THREE, dtype=dtype)


def test_a_config_with_the_right_dtype_keeps_its_bytes_however_it_is_written(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    odd = json.dumps(dict(CONFIG) | {"note": "ä 🦙", "big": 1e6}, ensure_ascii=True, indent=None).encode()
    for folder in pair_folders:
        (folder / "config.json").write_bytes(odd)
    plan = plan_of(pair_folders, tmp_path / "grid", lambdas=THREE)
    assert [config_bytes(plan, member_at(plan, lam)) for lam in THREE] == [odd] * 3


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_a_config_is_corrected_to_the_written_dtype_in_nested_configs_too(key: str, tmp_path: Path) -> None:
    inner = {"hidden_size": 8, key: "bfloat16", "name": "Größe"}
    config: dict[str, object] = {**CONFIG, "text_config": inner, "vision_config": {key: None}}
    config |= {"dtype": "bfloat16", key: "bfloat16"}
    plan = configured(tmp_path, config, dtype="float16")
    written = config_bytes(plan, member_at(plan, HALF))
    found = json.loads(written)
    assert found[key] == found["text_config"][key] == "float16"
    assert found["vision_config"] == {key: None}
    assert "Größe".encode() in written
    assert written.endswith(b"}\n")
    expected = json.loads(json.dumps(config).replace("bfloat16", "float16"))
    assert found == expected
    assert list(found) == list(expected), "the order of the fields is the donor's"


def test_a_config_whose_dtype_contradicts_the_weights_is_corrected(tmp_path: Path) -> None:
    plan = configured(tmp_path, {**CONFIG, "dtype": "float32"})
    assert json.loads(config_bytes(plan, member_at(plan, HALF)))["dtype"] == "bfloat16"


def test_a_config_without_a_dtype_gets_none(tmp_path: Path) -> None:
    config = {key: value for key, value in CONFIG.items() if key != "dtype"}
    plan = configured(tmp_path, config, dtype="float16")
    assert config_bytes(plan, member_at(plan, HALF)) == (tmp_path / "t" / "config.json").read_bytes()


def test_the_dtype_of_most_elements_is_the_models(tmp_path: Path) -> None:
    tensors = {"big": torch.zeros(100, dtype=torch.float16), "gate": torch.zeros(9)}
    tensors["ids"] = torch.zeros(1000, dtype=torch.int64)
    folders = write_checkpoint(tmp_path / "i", tensors), write_checkpoint(tmp_path / "t", tensors)
    plan = plan_of(folders, tmp_path / "grid")
    assert json.loads(config_bytes(plan, member_at(plan, HALF)))["dtype"] == "float16"


def test_a_checkpoint_without_floats_keeps_its_config(tmp_path: Path) -> None:
    tensors = {"ids": torch.arange(10)}
    folders = write_checkpoint(tmp_path / "i", tensors), write_checkpoint(tmp_path / "t", tensors)
    plan = plan_of(folders, tmp_path / "grid", dtype="float16")
    assert config_bytes(plan, member_at(plan, HALF)) == (folders[1] / "config.json").read_bytes()


def test_the_config_is_the_donors(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    for number, folder in enumerate(pair_folders):
        write_json(folder / "config.json", dict(CONFIG) | {"use_cache": bool(number)})
    plan = plan_of(pair_folders, tmp_path / "grid", lambdas=THREE)
    assert [json.loads(config_bytes(plan, member_at(plan, lam)))["use_cache"] for lam in THREE] == [
        False,
        True,
        True,
    ]
    named = plan_of(pair_folders, tmp_path / "grid", lambdas=THREE, donor="instruct")
    assert [json.loads(config_bytes(named, member_at(named, lam)))["use_cache"] for lam in THREE] == [
        False
    ] * 3


def sharded(folder: Path, shards: list[list[str]]) -> Path:
    return write_checkpoint(folder, random_tensors(seed=0), shards=shards)


def test_a_single_file_has_no_index(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    assert index_bytes(plan_of(pair_folders, tmp_path / "grid")) is None


def test_one_shard_of_a_sharded_name_has_an_index(tmp_path: Path) -> None:
    names = sorted(random_tensors(seed=0))
    folders = sharded(tmp_path / "i", [names]), sharded(tmp_path / "t", [names[:2], names[2:]])
    index = json.loads(index_bytes(plan_of(folders, tmp_path / "grid")) or b"")
    assert set(index["weight_map"].values()) == {"model-00001-of-00001.safetensors"}


def test_the_index_names_every_tensor_and_the_bytes_of_all(tmp_path: Path) -> None:
    names = sorted(random_tensors(seed=0))
    folders = sharded(tmp_path / "i", [names[:2], names[2:]]), sharded(tmp_path / "t", [names])
    plan = plan_of(folders, tmp_path / "grid", dtype="float32")
    index = json.loads(index_bytes(plan) or b"")
    assert sorted(index["weight_map"]) == names
    elements = sum(tensor.numel() for tensor in random_tensors(seed=0).values())
    assert index["metadata"] == {"total_size": 4 * elements}
    assert [shard.name for shard in plan.shards] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]


def test_the_inventory_digest_is_of_the_layout_and_not_of_the_weights(tmp_path: Path) -> None:
    names = sorted(random_tensors(seed=0))
    one = sharded(tmp_path / "one", [names[:2], names[2:]])
    other = write_checkpoint(tmp_path / "other", random_tensors(seed=1), shards=[names[:2], names[2:]])
    whole = sharded(tmp_path / "whole", [names])
    grid = tmp_path / "grid"
    digest = inventory_digest(plan_of((one, other), grid))
    assert digest == inventory_digest(plan_of((other, one), grid, lambdas=even_grid(2)))
    assert digest != inventory_digest(plan_of((whole, one), grid)), "other shards"
    assert digest != inventory_digest(plan_of((one, other), grid, dtype="float16")), "another dtype"


@pytest.mark.parametrize(
    ("instruct", "thinking", "name"),
    [
        ("Qwen3-4B-Instruct-2507", "Qwen3-4B-Thinking-2507", "Qwen3-4B"),
        ("model_a", "model_b", "model"),
        ("left", "right", "merge"),
        ("same-2", "same-2.5", "same-2"),
    ],
)
def test_the_grid_is_named_by_what_both_names_share(
    instruct: str, thinking: str, name: str, tmp_path: Path
) -> None:
    tensors = random_tensors(seed=0)
    folders = (
        write_checkpoint(tmp_path / instruct, tensors),
        write_checkpoint(tmp_path / thinking, tensors),
    )
    assert plan_of(folders, tmp_path / "grid").name == name
    assert plan_of(folders, tmp_path / "grid", name="mine").name == "mine"
