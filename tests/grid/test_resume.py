"""Runs that are killed, starved, disturbed or repeated end byte-identical to one that was left alone."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dami_merge.errors import DiskFull, InputRefused, OutputRefused
from dami_merge.grid.admission import space_needed
from dami_merge.grid.build import BuildProgress, build_grid
from dami_merge.grid.plan import GridPlan
from tests.checkpoints import write_checkpoint, write_json
from tests.grid.grids import THREE, plan_of, tree

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def weights(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = {"a": 60_001, "b": 20_000, "c": 90_003, "d": 11}
    return {name: torch.randn(size, generator=generator).to(torch.bfloat16) for name, size in sizes.items()}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two shards of two tensors each; with 64 KiB blocks, six blocks in all."""
    shards = [["a", "b"], ["c", "d"]]
    return (
        write_checkpoint(tmp_path / "i", weights(0), shards=shards),
        write_checkpoint(tmp_path / "t", weights(1), shards=shards),
    )


def small_blocks(folders: tuple[Path, Path], output: Path, donor: str | None = None) -> GridPlan:
    return plan_of(folders, output, block_bytes=1 << 16, lambdas=THREE, donor=donor)


@pytest.fixture
def whole(folders: tuple[Path, Path], tmp_path: Path) -> dict[str, bytes]:
    """What a run that nobody disturbs leaves."""
    build_grid(small_blocks(folders, tmp_path / "undisturbed"))
    return tree(tmp_path / "undisturbed")


def runs(jobs: list[dict[str, object]]) -> list[list[int]]:
    command = [sys.executable, "-m", "tests.grid.killed"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        command, input=json.dumps(jobs), capture_output=True, text=True, check=True, env=environment
    )
    outcomes: list[list[int]] = json.loads(done.stdout)
    return outcomes


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_killed_at_any_step_is_resumed_and_ends_byte_identical(
    stride: int, folders: tuple[Path, Path], whole: dict[str, bytes], tmp_path: Path
) -> None:
    """Before every renaming, making or removing of a name, and after every block."""
    names = [str(folder) for folder in folders]
    ((code, steps),) = runs([{"folders": names, "output": str(tmp_path / "counted")}])
    assert code == 0
    assert tree(tmp_path / "counted") == whole
    assert steps > 40, "blocks, receipts, folders and small files are steps"
    outputs = {step: tmp_path / f"killed-{step}" for step in range(1, steps + 1, stride)}
    jobs = [{"folders": names, "output": str(path), "die_at": step} for step, path in outputs.items()]
    assert {code for code, _ in runs(jobs)} == {-9}
    for step, output in outputs.items():
        if (output / "grid.json").exists():
            assert tree(output) == whole, f"looks finished, killed at step {step} of {steps}"
        finished = {path.stem for path in output.glob(".dami-merge/receipts/*.json")}
        built = build_grid(small_blocks(folders, output))
        assert tree(output) == whole, f"killed at step {step} of {steps}"
        assert {name.removesuffix(".json") for name in finished}.isdisjoint(built.made)
        assert set(built.made) | finished == {FIRST, SECOND}


def stop_in(shard: str) -> Callable[[BuildProgress], None]:
    """Breaks the run off, as Ctrl-C does, once a shard is reached."""

    def stop(progress: BuildProgress) -> None:
        if progress.shard == shard:
            raise KeyboardInterrupt

    return stop


def test_an_interrupted_run_leaves_only_partial_folders_without_config(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    plan = small_blocks(folders, tmp_path / "grid")
    with pytest.raises(KeyboardInterrupt):
        build_grid(plan, on_progress=stop_in(SECOND))
    left = {path.name for path in (tmp_path / "grid").iterdir()}
    assert left == {".dami-merge", "lambda-0.00.partial", "lambda-0.30.partial", "lambda-1.00.partial"}
    assert not list((tmp_path / "grid").rglob("config.json"))
    resumed: list[BuildProgress] = []
    assert build_grid(plan, on_progress=resumed.append).made == (SECOND,)
    assert {progress.resumed_bytes for progress in resumed} == {plan.shards[0].size_bytes * 3}
    assert resumed[0].done_bytes == plan.shards[0].size_bytes * 3


def damage_by_deleting(path: Path) -> None:
    path.unlink()


def damage_by_editing(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(-3, os.SEEK_END)
        file.write(b"\xff")


def damage_by_truncating(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize("damage", [damage_by_deleting, damage_by_editing, damage_by_truncating])
def test_a_shard_that_was_damaged_after_completion_is_made_again_alone(
    damage: Callable[[Path], None], folders: tuple[Path, Path], whole: dict[str, bytes], tmp_path: Path
) -> None:
    plan = small_blocks(folders, tmp_path / "grid")
    build_grid(plan)
    damage(tmp_path / "grid" / "lambda-0.30" / FIRST)
    with pytest.raises(KeyboardInterrupt):
        build_grid(plan, on_progress=stop_in(FIRST))
    assert not (tmp_path / "grid" / "grid.json").exists(), "a damaged grid does not look finished"
    usable = {path.parent.name for path in (tmp_path / "grid").rglob("config.json")}
    assert usable == {"lambda-0.00", "lambda-1.00"}, "what is whole stays usable"
    assert build_grid(plan).made == (FIRST,)
    assert tree(tmp_path / "grid") == whole


def test_a_touched_but_equal_shard_is_kept(folders: tuple[Path, Path], tmp_path: Path) -> None:
    plan = small_blocks(folders, tmp_path / "grid")
    build_grid(plan)
    os.utime(tmp_path / "grid" / "lambda-0.30" / FIRST, (1, 1))
    assert build_grid(plan).made == ()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"shard": 1}', b'{"shard": "x", "files": {}}', b'{"a": ' + b"[" * 100_000],
)
def test_a_damaged_receipt_costs_only_its_shard(
    content: bytes, folders: tuple[Path, Path], whole: dict[str, bytes], tmp_path: Path
) -> None:
    plan = small_blocks(folders, tmp_path / "grid")
    build_grid(plan)
    (tmp_path / "grid" / ".dami-merge" / "receipts" / f"{SECOND}.json").write_bytes(content)
    assert build_grid(plan).made == (SECOND,)
    assert tree(tmp_path / "grid") == whole


def test_small_files_that_were_lost_edited_or_added_are_put_right(
    folders: tuple[Path, Path], whole: dict[str, bytes], tmp_path: Path
) -> None:
    plan = small_blocks(folders, tmp_path / "grid")
    build_grid(plan)
    (tmp_path / "grid" / "lambda-0.00" / "config.json").unlink()
    (tmp_path / "grid" / "lambda-0.30" / "tokenizer.json").write_text("{}")
    (tmp_path / "grid" / "lambda-1.00" / ".config.json.tmp").write_text("{")
    (tmp_path / "grid" / "grid.json").unlink()
    assert build_grid(plan).made == ()
    assert tree(tmp_path / "grid") == whole


def test_another_recipe_is_refused_naming_the_difference_and_fresh_starts_over(
    folders: tuple[Path, Path], whole: dict[str, bytes], tmp_path: Path
) -> None:
    plan = small_blocks(folders, tmp_path / "grid", donor="instruct")
    build_grid(plan)
    before = tree(tmp_path / "grid")
    other = small_blocks(folders, tmp_path / "grid")
    with pytest.raises(OutputRefused, match='another recipe or source: donor was "instruct", is null'):
        build_grid(other)
    assert tree(tmp_path / "grid") == before
    assert build_grid(other, fresh=True).made == (FIRST, SECOND)
    assert tree(tmp_path / "grid") == whole


def test_other_lambdas_are_refused_and_fresh_leaves_none_of_the_old(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    build_grid(small_blocks(folders, tmp_path / "grid"))
    other = plan_of(folders, tmp_path / "grid", lambdas=THREE[:2])
    with pytest.raises(OutputRefused, match=r'lambdas was \["0/1","3/10","1/1"\], is \["0/1","3/10"\]'):
        build_grid(other)
    build_grid(other, fresh=True)
    names = {path.name for path in (tmp_path / "grid").iterdir()}
    assert names == {".dami-merge", "grid.json", "lambda-0.00", "lambda-0.30"}


def test_new_weights_behind_the_same_header_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_grid(small_blocks(folders, tmp_path / "grid"), on_progress=stop_in(SECOND))
    damage_by_editing(folders[1] / FIRST)
    with pytest.raises(OutputRefused, match=rf"another source: the tensors of {FIRST} in thinking"):
        build_grid(small_blocks(folders, tmp_path / "grid"))


def test_a_changed_sidecar_is_refused_by_its_name(folders: tuple[Path, Path], tmp_path: Path) -> None:
    build_grid(small_blocks(folders, tmp_path / "grid"))
    write_json(folders[0] / "generation_config.json", {"temperature": 0.7})
    with pytest.raises(OutputRefused, match=r"instruct\.sidecars\.generation_config\.json was null, is"):
        build_grid(small_blocks(folders, tmp_path / "grid"))


@pytest.mark.parametrize("fresh", [False, True])
def test_a_foreign_folder_is_refused_and_left_as_it_is(
    fresh: bool, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "grid").mkdir()
    (tmp_path / "grid" / "thesis.txt").write_text("mine")
    with pytest.raises(
        OutputRefused, match=r"neither empty nor the output folder of an earlier run: it holds thesis.txt"
    ):
        build_grid(small_blocks(folders, tmp_path / "grid"), fresh=fresh)
    assert tree(tmp_path / "grid") == {"thesis.txt": b"mine"}


HOLDING_RUN = """
import sys
from pathlib import Path
from dami_merge.files import locked
with locked(Path(sys.argv[1]), what=Path(sys.argv[1])):
    print("holding", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_run(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of tmp_path/grid."""
    (tmp_path / "grid" / ".dami-merge").mkdir(parents=True)
    command = [sys.executable, "-c", HOLDING_RUN, str(tmp_path / "grid" / ".dami-merge" / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        yield process
        process.kill()


def test_a_second_run_on_one_folder_is_refused_until_the_first_is_dead(
    folders: tuple[Path, Path], tmp_path: Path, other_run: subprocess.Popen[str]
) -> None:
    plan = small_blocks(folders, tmp_path / "grid")
    for fresh in (False, True):
        with pytest.raises(OutputRefused, match=r"another run is working on .*grid"):
            build_grid(plan, fresh=fresh)
    assert tree(tmp_path / "grid") == {}
    other_run.kill()
    other_run.wait()
    assert build_grid(plan).made == (FIRST, SECOND)


@pytest.fixture(params=["size=4m"])
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of 4 MB, or with other options of a tmpfs."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        mount = ["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", str(place)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"may not mount a tmpfs here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(place: Path) -> None:
    """Take what is left of a disk."""
    subprocess.run(
        ["dd", "if=/dev/zero", f"of={place / 'ballast'}", "bs=4k"], capture_output=True, check=False
    )
    assert shutil.disk_usage(place).free == 0


@pytest.mark.parametrize("moment", [1, 2, 4, 7])
def test_a_disk_that_fills_on_the_way_is_told_and_resumed_after_space_is_made(
    moment: int, folders: tuple[Path, Path], whole: dict[str, bytes], tmp_path: Path, small_disk: Path
) -> None:
    calls = 0

    def fill_once(_: BuildProgress) -> None:
        nonlocal calls
        calls += 1
        if calls == moment:
            fill(small_disk)

    plan = small_blocks(folders, small_disk / "grid")
    with pytest.raises(DiskFull, match=r"the disk of .* is full \(.* free\)") as caught:
        build_grid(plan, on_progress=fill_once)
    assert "it resumes" in caught.value.hint
    assert not (small_disk / "grid" / "grid.json").exists()
    (small_disk / "ballast").unlink()
    build_grid(plan)
    assert tree(small_disk / "grid") == whole


@pytest.mark.parametrize("small_disk", [f"nr_inodes={count}" for count in range(3, 15)], indirect=True)
def test_a_disk_that_takes_no_more_names_is_told_and_resumed_after_space_is_made(
    folders: tuple[Path, Path], whole: dict[str, bytes], small_disk: Path
) -> None:
    """Whatever it is that finds no room: a folder, a shard, a receipt, the lock."""
    plan = small_blocks(folders, small_disk / "grid")
    with pytest.raises(DiskFull, match="is full"):
        build_grid(plan)
    subprocess.run(["mount", "-o", "remount,nr_inodes=1000", str(small_disk)], check=True)
    build_grid(plan)
    assert tree(small_disk / "grid") == whole


def test_a_disk_without_room_is_refused_before_the_first_byte(
    folders: tuple[Path, Path], small_disk: Path
) -> None:
    plan = small_blocks(folders, small_disk / "grid")
    with (small_disk / "ballast").open("wb") as file:
        file.write(bytes((4 << 20) - plan.write_bytes))
    with pytest.raises(DiskFull, match=r"needs 1\.\d+ MB more, but its disk has only \d.* free"):
        build_grid(plan)
    assert not list((small_disk / "grid").rglob("*.safetensors"))


def test_what_an_earlier_run_wrote_need_not_be_free_again(folders: tuple[Path, Path], tmp_path: Path) -> None:
    plan = small_blocks(folders, tmp_path / "grid")
    assert space_needed(plan) == plan.write_bytes > 3 * 340_000
    with pytest.raises(KeyboardInterrupt):
        build_grid(plan, on_progress=stop_in(SECOND))
    assert space_needed(plan) < plan.write_bytes - plan.shards[0].size_bytes * 3
    build_grid(plan)
    assert space_needed(plan) == 0


def when_in(shard: str, act: Callable[[], None]) -> Callable[[BuildProgress], None]:
    """Do something once when the run has reached a shard."""
    done = False

    def callback(progress: BuildProgress) -> None:
        nonlocal done
        if progress.shard == shard and not done:
            done = True
            act()

    return callback


@pytest.mark.parametrize("victim", [FIRST, SECOND])
def test_a_source_that_is_truncated_under_the_run_is_refused(
    victim: str, folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """SECOND is not open yet when it happens, FIRST is being read."""
    plan = small_blocks(folders, tmp_path / "grid")
    act = when_in(FIRST, lambda: os.truncate(folders[1] / victim, 20_000))
    with pytest.raises(InputRefused, match=rf"{victim} changed while it was read"):
        build_grid(plan, on_progress=act)
    assert not (tmp_path / "grid" / "grid.json").exists()


def test_a_source_that_disappears_under_the_run_is_refused(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    act = when_in(FIRST, (folders[0] / SECOND).unlink)
    with pytest.raises(InputRefused, match=rf"{SECOND} changed while it was read"):
        build_grid(small_blocks(folders, tmp_path / "grid"), on_progress=act)
    assert not (tmp_path / "grid" / "grid.json").exists()


def test_a_source_that_is_rewritten_under_the_run_is_not_published(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """Its size stays, so that only its time tells that two models would be mixed."""
    act = when_in(SECOND, lambda: damage_by_editing(folders[1] / FIRST))
    with pytest.raises(
        InputRefused, match=rf"a source changed during the run: thinking\.weights\.{FIRST}\.mtime_ns was"
    ):
        build_grid(small_blocks(folders, tmp_path / "grid"), on_progress=act)
    assert not (tmp_path / "grid" / "grid.json").exists()
    assert not (tmp_path / "grid" / "lambda-0.30").exists()


def test_a_source_that_is_gone_when_the_grid_is_sealed_is_not_published(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    act = when_in(SECOND, (folders[1] / FIRST).unlink)
    with pytest.raises(InputRefused, match=rf"{FIRST} disappeared during the run"):
        build_grid(small_blocks(folders, tmp_path / "grid"), on_progress=act)
    assert not (tmp_path / "grid" / "grid.json").exists()
