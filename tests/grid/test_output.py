"""Whose an output folder is, what counts as finished in it, and how it becomes whole."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dami_merge.errors import DiskFull, OutputRefused
from dami_merge.files import Written, locked
from dami_merge.grid.admission import refuse_folder, require_space
from dami_merge.grid.build import BuildProgress, build_grid
from dami_merge.grid.identity import identity_of
from dami_merge.grid.opening import opened
from dami_merge.grid.output import Receipt
from dami_merge.grid.plan import GridPlan
from dami_merge.lambdas import folder_name
from tests.checkpoints import near, random_tensors, write_checkpoint
from tests.grid.grids import THREE, plan_of, tree


@pytest.fixture
def plan(pair_folders: tuple[Path, Path], tmp_path: Path) -> GridPlan:
    return plan_of(pair_folders, tmp_path / "grid", lambdas=THREE)


def test_a_new_or_empty_folder_may_be_had_and_asking_writes_nothing(plan: GridPlan) -> None:
    refuse_folder(plan, fresh=False)
    assert not plan.output.exists()
    plan.output.mkdir()
    refuse_folder(plan, fresh=False)
    assert list(plan.output.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["notes.txt", "lambda-half", "lambda-0.5.bak", "lambda-0.30.partial.old", ".cache", "model"]
)
@pytest.mark.parametrize("begun", [False, True])
def test_any_name_that_is_not_ours_is_refused(name: str, begun: bool, plan: GridPlan) -> None:
    (plan.output / ".dami-merge" if begun else plan.output).mkdir(parents=True)
    (plan.output / name).write_text("precious")
    with pytest.raises(
        OutputRefused, match=rf"is neither empty nor the output folder of an earlier run: it holds {name}"
    ):
        refuse_folder(plan, fresh=True)
    assert (plan.output / name).read_text() == "precious"


@pytest.mark.parametrize("name", ["grid.json", "lambda-0.30"])
def test_names_like_ours_without_the_state_of_a_run_are_refused(name: str, plan: GridPlan) -> None:
    (plan.output / name).mkdir(parents=True)
    with pytest.raises(OutputRefused, match=f"it holds {name}"):
        build_grid(plan, fresh=True)
    assert (plan.output / name).is_dir()


def test_a_file_is_no_output_folder(plan: GridPlan) -> None:
    plan.output.write_text("x")
    with pytest.raises(OutputRefused, match="grid is a file, not a folder"):
        build_grid(plan)


def test_asking_for_a_folder_of_another_recipe_is_refused_unless_fresh(
    plan: GridPlan, pair_folders: tuple[Path, Path]
) -> None:
    build_grid(plan)
    refuse_folder(plan, fresh=False)
    other = plan_of(pair_folders, plan.output, lambdas=THREE, dtype="float16")
    with pytest.raises(OutputRefused, match='dtype was null, is "float16"') as caught:
        refuse_folder(other, fresh=False)
    assert "--fresh" in caught.value.hint
    refuse_folder(other, fresh=True)


def test_many_differences_are_counted_and_long_values_cut(tmp_path: Path) -> None:
    tensors = random_tensors(seed=0)
    folders = [write_checkpoint(tmp_path / name, tensors) for name in ("a", "b", "c")]
    build_grid(plan_of((folders[0], folders[1]), tmp_path / "grid"))
    changes: dict[str, Any] = {"name": "mine", "dtype": "float32", "donor": "thinking"}
    other = plan_of((folders[0], folders[2]), tmp_path / "grid", lambdas=THREE, **changes)
    lost = r"that drops λ = 0\.10, 0\.20, 0\.40 and 5 more"
    with pytest.raises(
        OutputRefused, match=rf'lambdas was \["0/1".{{50,60}}…, is .* \({lost}\); 1 more'
    ) as caught:
        build_grid(other)
    assert len(str(caught.value)) < 600


def test_a_folder_in_which_nothing_is_finished_may_go_to_another_recipe(
    plan: GridPlan, pair_folders: tuple[Path, Path]
) -> None:
    with opened(plan) as output:
        output.unpublish({member.name for member in plan.members})
        (output.partial(folder_name(THREE[0])) / "model.safetensors").write_text("begun")
    other = plan_of(pair_folders, plan.output, lambdas=THREE[1:])
    build_grid(other)
    assert {path.name for path in plan.output.iterdir()} == {
        ".dami-merge",
        "grid.json",
        "lambda-0.30",
        "lambda-1.00",
    }


def test_the_identity_holds_no_path_of_this_machine(plan: GridPlan, tmp_path: Path) -> None:
    assert str(tmp_path) not in json.dumps(identity_of(plan))


def test_a_receipt_is_believed_only_for_files_that_are_as_it_says(plan: GridPlan) -> None:
    (shard,) = plan.shards
    with opened(plan) as output:
        output.unpublish({member.name for member in plan.members})
        files = {}
        for lam in THREE:
            path = output.partial(folder_name(lam)) / shard.name
            path.write_bytes(b"x" * 10)
            files[folder_name(lam)] = Written(10, "blake3:" + "0" * 64, path.stat().st_mtime_ns)
        output.keep_receipt(Receipt(shard.name, files, "", ""))
        (receipt,) = output.receipts().values()
        assert output.intact(receipt) == receipt
        (output.partial(folder_name(THREE[1])) / shard.name).write_bytes(b"x" * 11)
        assert output.intact(receipt).files.keys() == {folder_name(THREE[0]), folder_name(THREE[2])}


def test_shards_of_one_name_in_two_folders_keep_their_own_receipts(tmp_path: Path) -> None:
    tensors = random_tensors(seed=0)
    names = sorted(tensors)
    folders = (
        write_checkpoint(tmp_path / "i", tensors, shards=[names[:3], names[3:]]),
        write_checkpoint(tmp_path / "t", near(tensors)),
    )
    index = json.loads((folders[0] / "model.safetensors.index.json").read_text())
    for number, place in enumerate(("a", "b/c"), start=1):
        (folders[0] / place).mkdir(parents=True)
        old = f"model-{number:05d}-of-00002.safetensors"
        (folders[0] / old).rename(folders[0] / place / "x.safetensors")
        index["weight_map"] = {
            name: f"{place}/x.safetensors" if file == old else file
            for name, file in index["weight_map"].items()
        }
    (folders[0] / "model.safetensors.index.json").write_text(json.dumps(index))
    plan = plan_of(folders, tmp_path / "grid", lambdas=THREE)
    assert build_grid(plan).made == ("a/x.safetensors", "b/c/x.safetensors")
    (tmp_path / "grid" / "lambda-0.30" / "a" / "x.safetensors").unlink()
    assert build_grid(plan).made == ("a/x.safetensors",)


def test_a_stray_partial_folder_beside_a_published_one_gives_way(plan: GridPlan) -> None:
    build_grid(plan)
    whole = tree(plan.output)
    stray = plan.output / "lambda-0.30.partial"
    stray.mkdir()
    (stray / "model.safetensors").write_text("stale")
    (plan.output / "lambda-1.00" / "model.safetensors").unlink()
    assert build_grid(plan).made == ("model.safetensors",)
    assert tree(plan.output) == whole


def test_space_is_refused_with_both_numbers(plan: GridPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1_234

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(
        DiskFull, match=r"grid needs \d\.\d\d kB more, but its disk has only 1\.23 kB free"
    ) as caught:
        require_space(plan)
    assert "--lambdas" in caught.value.hint
    with pytest.raises(DiskFull, match="needs"):
        build_grid(plan)
    assert tree(plan.output) == {}
    Usage.free = plan.write_bytes
    require_space(plan)


def test_a_published_folder_is_completed_in_place_and_its_lambda_is_listed_sorted(plan: GridPlan) -> None:
    build_grid(plan)
    with opened(plan) as output:
        leftover = output.final(folder_name(THREE[1])) / ".config.json.tmp"
        leftover.write_text("{")
        files = output.publish("lambda-0.30", {"z.txt": b"z", "sub/a.txt": b"a"}, {})
    assert [file.name for file in files] == ["sub/a.txt", "z.txt"]
    assert (plan.output / "lambda-0.30" / "sub" / "a.txt").read_bytes() == b"a"
    assert not leftover.exists()


def test_a_file_with_the_name_of_a_checkpoint_is_not_ours(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    plan = plan_of(pair_folders, tmp_path / "grid", lambdas=THREE)
    build_grid(plan)
    (tmp_path / "grid" / "lambda-0.75").write_text("mine")
    with pytest.raises(OutputRefused, match=r"it holds lambda-0\.75"):
        build_grid(plan, fresh=True)
    assert (tmp_path / "grid" / "lambda-0.75").read_text() == "mine"


def test_a_shard_that_another_process_makes_is_refused_and_others_are_free(plan: GridPlan) -> None:
    program = (
        "import sys; from pathlib import Path; from dami_merge.errors import OutputRefused;"
        "from dami_merge.files import locked\n"
        "try:\n with locked(Path(sys.argv[1]), what=Path('shard')): print('free')\n"
        "except OutputRefused as error: print(error)"
    )

    def asked(shard: str) -> str:
        lock = plan.output / ".dami-merge" / "locks" / f"{shard}.lock"
        command = [sys.executable, "-c", program, str(lock)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with opened(plan) as output, output.claimed("a/b.safetensors"):
        assert "another run is working on shard" in asked("a%2Fb.safetensors")
        assert asked("c.safetensors") == "free"
        with pytest.raises(OutputRefused, match="another run"), output.claimed("a/b.safetensors"):
            pass
    assert asked("a%2Fb.safetensors") == "free"


def test_a_build_holds_the_lock_of_the_shard_in_work(tmp_path: Path) -> None:
    tensors = random_tensors(seed=0)
    names = sorted(tensors)
    folders = (
        write_checkpoint(tmp_path / "i", tensors, shards=[names[::2], names[1::2]]),
        write_checkpoint(tmp_path / "t", near(tensors)),
    )
    plan = plan_of(folders, tmp_path / "grid", lambdas=THREE)
    held: dict[str, str] = {}

    def look(progress: BuildProgress) -> None:
        lock = plan.output / ".dami-merge" / "locks" / f"{progress.shard}.lock"
        if lock.exists() and progress.done_bytes:
            try:
                with locked(lock, what=lock):
                    held[progress.shard] = "free"
            except OutputRefused:
                held[progress.shard] = "held"

    build_grid(plan, on_progress=look)
    assert held == {shard.name: "held" for shard in plan.shards}
