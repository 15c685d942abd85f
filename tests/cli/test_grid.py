"""`dami-merge grid` as it is typed: what it prints, where, and how it exits."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dami_merge.cli.main import commands
from tests.checkpoints import CONFIG, near, random_tensors, write_checkpoint
from tests.terminal import shown_on


def run(*arguments: object) -> Result:
    """One command in this process, with stdout and stderr apart."""
    return CliRunner().invoke(commands, [str(argument) for argument in arguments])


def test_two_folders_give_eleven_checkpoints_and_a_table(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    result = run("grid", *pair_folders, "-o", tmp_path / "grid")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["λ", "folder", "served", "model", "name", "donor"]
    assert [line.split()[0] for line in lines[1:12]] == [f"{k / 10:.2f}" for k in range(11)]
    assert lines[1].split()[2:] == ["toy-lambda-0.00", "instruct"]
    assert lines[11].split()[2:] == ["toy-lambda-1.00", "thinking"]
    assert lines[12].startswith("11 checkpoints, ")
    assert lines[13] == f"check every byte with: dami-merge verify {tmp_path / 'grid'}"
    assert sorted(p.name for p in (tmp_path / "grid").glob("lambda-*")) == [
        f"lambda-{k / 10:.2f}" for k in range(11)
    ]


def test_the_same_command_again_writes_nothing(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    assert run("grid", *pair_folders, "-o", tmp_path / "grid").exit_code == 0
    result = run("grid", *pair_folders, "-o", tmp_path / "grid")
    assert result.exit_code == 0
    assert "already complete: no weights were written" in result.stdout


def test_json_is_one_value_on_stdout(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    result = run(
        "grid", *pair_folders, "-o", tmp_path / "grid", "--lambdas", "0.37", "--name", "mine", "--json"
    )
    value = json.loads(result.stdout)
    assert result.exit_code == 0
    assert [entry["lambda"] for entry in value["checkpoints"]] == ["37/100"]
    assert value["checkpoints"][0]["model"] == "mine-lambda-0.37"
    assert value["shards_made"] == ["model.safetensors"]
    assert value["devices"] == ["cpu"] or all(name.startswith("cuda") for name in value["devices"])
    assert value["kernel"] in {"torch", "triton"}


@pytest.mark.parametrize(
    ("flags", "folders"),
    [
        (["--lambdas", "0,1/4,1/2,3/4,1"], ["0.00", "0.25", "0.50", "0.75", "1.00"]),
        (["--steps", "3"], ["0.00", "1.00", "1of3", "2of3"]),
        (["--lambdas", "0.375"], ["0.375"]),
    ],
)
def test_lambdas_and_steps_choose_the_grid(
    pair_folders: tuple[Path, Path], tmp_path: Path, flags: list[str], folders: list[str]
) -> None:
    assert run("grid", *pair_folders, "-o", tmp_path / "grid", *flags).exit_code == 0
    assert sorted(p.name for p in (tmp_path / "grid").glob("lambda-*")) == [
        f"lambda-{name}" for name in folders
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one"], "error: expected two models or none, got 1\nhint: give INSTRUCT and THINKING, or neither"),
        (["a", "b", "c"], "error: expected two models or none, got 3"),
        (["--lambdas", "0.5", "--steps", "2"], "error: --lambdas and --steps cannot be used together"),
        (["--lambdas", "0.5,2"], "error: λ = 2 is outside [0, 1]"),
        (["--lambdas", "0.5,1/2"], "error: duplicate λ = 0.50"),
        (["--lambdas", "a"], "error: λ = 'a' is not a number\nhint: write 0.3, 3/10 or 1"),
        (["--lambdas", "0.12345"], "error: λ = 0.12345 is 2469/20000, finer than 1/4096"),
        (["--steps", "0"], "error: the number of steps must be from 1 to 4096, not 0"),
        (["--dtype", "int8"], "Invalid value for '--dtype'"),
        (["--block-size", "3"], "Invalid value for '--block-size'"),
        (
            ["--block-size", "65"],
            "error: the block size of 66560 bytes must be at least 65536 and a multiple of 4096",
        ),
    ],
)
def test_what_cannot_be_meant_exits_with_two_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("grid", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_all_differences_are_counted_and_five_are_shown(tmp_path: Path) -> None:
    tensors = random_tensors(seed=0)
    write_checkpoint(tmp_path / "a", tensors)
    other = {f"x.{name}": tensor for name, tensor in tensors.items()}
    write_checkpoint(tmp_path / "b", other, config={**CONFIG, "rope_theta": 1e6})
    result = run("grid", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "grid")
    assert result.exit_code == 3
    lines = result.stderr.splitlines()
    assert lines[0] == "error: refused"
    assert lines[1].startswith("  - config rope_theta: 10000.0 in instruct, 1000000.0 in thinking")
    assert len(lines) == 7
    assert lines[6] == "  - … and 8 more (--json lists all 13)"
    assert not (tmp_path / "grid").exists()
    value = json.loads(run("grid", tmp_path / "a", tmp_path / "b", "--json").stdout)
    assert value["error"]["kind"] == "InputRefused"
    assert len(value["error"]["problems"]) == 13, "a field, and six kinds of tensors on either side"
    assert value["error"]["problems"][0]["field"] == "rope_theta"


def test_both_sides_problems_are_reported_together(tmp_path: Path) -> None:
    result = run("grid", tmp_path / "a", tmp_path / "b")
    assert result.exit_code == 3
    assert f"  - {tmp_path / 'a'} is neither an existing folder nor a Hub id" in result.stderr
    assert f"  - {tmp_path / 'b'} is neither an existing folder nor a Hub id" in result.stderr


def test_an_allowed_field_is_recorded(tmp_path: Path) -> None:
    tensors = random_tensors(seed=0)
    write_checkpoint(tmp_path / "a", tensors)
    write_checkpoint(tmp_path / "b", near(tensors), config={**CONFIG, "rope_theta": 1e6})
    sides = (tmp_path / "a", tmp_path / "b")
    flags = ("-o", tmp_path / "grid", "--allow-config", "rope_theta", "--allow-config", "hidden_act")
    result = run("grid", *sides, *flags)
    assert result.exit_code == 0
    assert "note: --allow-config hidden_act was not needed: it waives no difference" in result.stderr
    assert json.loads((tmp_path / "grid" / "grid.json").read_text())["allowed"] == ["rope_theta"]


def test_flags_override_the_recipe_and_its_folders_are_its_own(
    pair_folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.yaml").write_text(
        "instruct: toy-instruct\nthinking: toy-thinking\nname: r\nlambdas: [0, 0.5]\ndtype: float32\n"
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    value = json.loads(
        run("grid", "--recipe", "../r.yaml", "--lambdas", "1/2", "--donor", "instruct", "--json").stdout
    )
    assert [entry["model"] for entry in value["checkpoints"]] == ["r-lambda-0.50"]
    config = json.loads((tmp_path / "elsewhere/grid/lambda-0.50/config.json").read_text())
    assert config["dtype"] == "float32"


def test_a_recipe_with_models_on_the_command_line_takes_these(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    for number, named in enumerate(("instruct: none/here\nthinking: none/there\n", "", "instruct: x\n")):
        (tmp_path / "r.yaml").write_text(f"{named}steps: 1\n")
        output = tmp_path / f"grid-{number}"
        arguments = ("grid", *pair_folders, "--recipe", tmp_path / "r.yaml", "-o", output, "--json")
        assert len(json.loads(run(*arguments).stdout)["checkpoints"]) == 2
    result = run("grid", "--recipe", tmp_path / "r.yaml")
    assert result.exit_code == 2
    assert "does not name the model thinking\nhint: add `thinking: org/name` to it" in result.stderr


def test_swapped_sides_are_warned_of_in_the_plan_before_the_build_and_after_it(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    swapped = ("grid", pair_folders[1], pair_folders[0], "-o", tmp_path / "grid", "--lambdas", "1/2")
    warning = "warning: the sides look swapped: toy-thinking is given as Instruct (λ = 0)"
    assert warning in run(*swapped, "--dry-run").stdout
    result = run(*swapped)
    assert result.exit_code == 0
    assert warning in result.stderr
    assert warning in result.stdout.splitlines()[-1]
    in_order = run("grid", *pair_folders, "-o", tmp_path / "other", "--lambdas", "1/2")
    assert "look swapped" not in in_order.output


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    result = run("grid", *pair_folders, "-o", tmp_path / "grid", "--dry-run", "--allow-config", "x")
    assert result.exit_code == 0
    assert not (tmp_path / "grid").exists()
    for heading in ("instruct", "thinking", "λ", "write", "read", "free", "memory", "sidecars", "note"):
        assert re.search(rf"^{heading} ", result.stdout, re.MULTILINE), heading
    assert "11 × " in result.stdout
    assert "the chat templates differ" in result.stdout


def test_a_dry_run_as_json_has_every_number(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    result = run("grid", *pair_folders, "-o", tmp_path / "grid", "--dry-run", "--json")
    plan = json.loads(result.stdout)
    assert plan["refusals"] == []
    assert plan["donors"]["0/1"] == "instruct"
    assert plan["donors"]["1/10"] == "thinking"
    assert plan["free_bytes"] > plan["write_bytes"] > 11 * plan["shards"][0]["size_bytes"]
    assert plan["memory_bytes"] > plan["block_bytes"] > 0
    assert plan["sources"]["instruct"]["files"] == ["model.safetensors"]


def test_a_dry_run_tells_refusals_and_exits_with_three(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "grid").mkdir()
    (tmp_path / "grid" / "thesis.tex").write_text("mine")
    result = run("grid", *pair_folders, "-o", tmp_path / "grid", "--dry-run")
    assert result.exit_code == 3
    assert "is neither empty nor the output folder of an earlier run: it holds thesis.tex" in result.stderr
    value = json.loads(run("grid", *pair_folders, "-o", tmp_path / "grid", "--dry-run", "--json").stdout)
    assert value["refusals"][0]["kind"] == "OutputRefused"


def test_a_changed_grid_of_lambdas_is_refused_until_fresh(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    common = ("grid", *pair_folders, "-o", tmp_path / "grid")
    assert run(*common, "--steps", 2).exit_code == 0
    for extra in ([], ["--dry-run"]):
        result = run(*common, "--steps", 1, *extra)
        assert result.exit_code == 3
        assert 'lambdas was ["0/1","1/2","1/1"], is ["0/1","1/1"]' in result.stderr
    assert run(*common, "--steps", 1, "--fresh", "--dry-run").exit_code == 0
    assert run(*common, "--steps", 1, "--fresh").exit_code == 0
    assert sorted(p.name for p in (tmp_path / "grid").glob("lambda-*")) == ["lambda-0.00", "lambda-1.00"]


def test_an_unknown_device_is_refused(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    for device, message in (
        ("cuda:99", "the device cuda:99 is unavailable"),
        ("tpux", "'tpux' is not a device"),
    ):
        result = run("grid", *pair_folders, "-o", tmp_path / "grid", "--device", device)
        assert result.exit_code == 3
        assert message in result.stderr


def test_help_and_a_dry_run_import_no_torch(pair_folders: tuple[Path, Path], tmp_path: Path) -> None:
    instruct, thinking = pair_folders
    for arguments in (["--help"], ["grid", "--help"], ["grid", str(instruct), str(thinking), "--dry-run"]):
        program = (
            "import sys\n"
            "from dami_merge.cli.main import main\n"
            f"sys.argv = ['dami-merge', *{arguments!r}]\n"
            "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
            "print('torch' in sys.modules, file=sys.stderr)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        assert done.stderr.splitlines()[-1] == "False"


def _big_pair(tmp_path: Path, shards: Sequence[Sequence[str]] = ()) -> tuple[Path, Path]:
    import torch

    generator = torch.Generator().manual_seed(0)
    tensors = {
        "w.weight": torch.randn(4096, 2048, generator=generator).bfloat16(),
        "a.weight": torch.randn(8, generator=generator).bfloat16(),
    }
    instruct = write_checkpoint(tmp_path / "a", tensors, shards=shards)
    return instruct, write_checkpoint(tmp_path / "b", near(tensors, noise=0.1))


def _environment() -> Mapping[str, str]:
    return {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}


def test_a_terminal_sees_progress_and_a_pipe_does_not(tmp_path: Path) -> None:
    sides = _big_pair(tmp_path)
    command = [sys.executable, "-m", "dami_merge", "grid", *map(str, sides), "--block-size", "64"]
    quiet = subprocess.run(
        [*command, "-o", str(tmp_path / "quiet")], capture_output=True, text=True, check=True
    )
    assert quiet.stderr == ""
    leader, follower = pty.openpty()
    subprocess.run(
        [*command, "-o", str(tmp_path / "loud")], stdout=subprocess.DEVNULL, stderr=follower, check=True,
        env=_environment(),
    )  # fmt: skip
    os.close(follower)
    shown = shown_on(leader)
    assert "model.safetensors" in shown
    assert "MB/s" in shown or "GB/s" in shown


@pytest.mark.parametrize("shards", [(), (["a.weight"], ["w.weight"])])
def test_ctrl_c_ends_cleanly_and_the_same_command_goes_on(
    tmp_path: Path, shards: Sequence[Sequence[str]]
) -> None:
    """In the only shard, of which nothing is kept, and in the second of two."""
    sides = _big_pair(tmp_path, shards)
    output = tmp_path / "grid"
    command = [sys.executable, "-m", "dami_merge", "grid", *map(str, sides), "-o", str(output)]
    process = subprocess.Popen([*command, "--block-size", "64"], stderr=subprocess.PIPE, text=True)
    name = "model-00002-of-00002.safetensors" if shards else "model.safetensors"
    shard = output / "lambda-0.00.partial" / name
    deadline = time.monotonic() + 60
    while not (shard.exists() and shard.stat().st_size > 1 << 16):
        assert process.poll() is None, "it ended before it could be interrupted"
        assert time.monotonic() < deadline, "no shard after a minute"
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    kept = f"finished shards are kept in {output}; run the same command again to resume"
    assert (kept if shards else "no shard was finished: nothing is left") in stderr
    assert "Traceback" not in stderr
    assert not (output / "grid.json").exists()
    assert output.exists() == bool(shards)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert run("verify", output).exit_code == 0
