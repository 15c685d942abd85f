"""What the system refuses ends with exit code 3, one line that says what, and a hint."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dami_merge.cli.main import _Commands
from dami_merge.cli.system_errors import system_error
from dami_merge.errors import DiskFull, RecipeError
from tests.cli.test_grid import run

LONG = "x" * 300


def unprivileged(*arguments: object, limit: Callable[[], None] | None = None) -> tuple[int, str]:
    """Run the program with permission bits in force, for root too; return exit code and stderr."""
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*drop, sys.executable, "-m", "dami_merge", *map(str, arguments)],
        capture_output=True, text=True, check=False, preexec_fn=limit,
    )  # fmt: skip
    return done.returncode, done.stderr


needs_plain_user = pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root without setpriv reads everything"
)


@needs_plain_user
@pytest.mark.parametrize("command", ["verify", "sweep", "grid", "check-lmc"])
def test_what_may_not_be_read_is_named_with_a_hint(
    pair_folders: tuple[Path, Path], tmp_path: Path, command: str
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    models = [locked] if command in {"verify", "sweep"} else [pair_folders[0], locked]
    code, said = unprivileged(command, *models)
    assert code == 3
    assert f"{locked}" in said
    assert "Permission denied" in said
    assert "Traceback" not in said


@needs_plain_user
def test_an_output_that_may_not_be_written_is_refused(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    code, said = unprivileged("grid", *pair_folders, "-o", closed / "grid", "--lambdas", "0.5")
    assert (code, "Traceback" in said) == (3, False)
    assert f"error: {closed / 'grid'}: Permission denied\nhint: " in said
    code, said = unprivileged("check-lmc", *pair_folders, "--csv", closed / "t.csv")
    assert code == 3
    assert said == (
        f"error: cannot write {closed / 't.csv'}: permission denied\nhint: give a file that you may write\n"
    )


def _small_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))


def test_a_limit_of_the_shell_is_named_with_its_command(
    pair_folders: tuple[Path, Path], tmp_path: Path
) -> None:
    arguments = ("grid", *pair_folders, "-o", tmp_path / "grid", "--lambdas", "0.5")
    code, said = unprivileged(*arguments, limit=_small_files)
    assert code == 3
    assert "File too large\nhint: raise the limit " in said
    assert "ulimit -f unlimited" in said


@pytest.mark.parametrize(
    ("make", "arguments", "words"),
    [
        ("loop", ("report", "--rollouts", "loop"), "Too many levels of symbolic links"),
        ("loop", ("grid", "--recipe", "loop"), "Too many levels of symbolic links"),
        ("loop", ("verify", "loop"), "Too many levels of symbolic links"),
        ("", ("verify", LONG), "File name too long"),
        ("", ("sweep", LONG), "File name too long"),
        ("", ("report", "--rollouts", LONG), "File name too long"),
        ("", ("grid", "--recipe", LONG), "File name too long"),
        ("", ("grid", "--recipe", "none.yaml"), "none.yaml: No such file or directory"),
        ("file", ("verify", "file"), "Not a directory"),
        ("file", ("grid", "-o", "file/grid", "--lambdas", "0.5"), "file"),
        ("file", ("check-lmc", "--csv", "file/t.csv"), "is a file"),
        ("folder", ("report", "--rollouts", "folder"), "not a regular file"),
        ("folder", ("grid", "--recipe", "folder"), "not a regular file"),
    ],
)
def test_a_path_that_is_none_is_unfit_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: str, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if make == "loop":
        Path("loop").symlink_to("loop")
    elif make == "file":
        Path("file").write_text("mine", encoding="utf-8")
    elif make == "folder":
        Path("folder").mkdir()
    result = run(*arguments)
    assert result.exit_code == 3, result.output
    assert words in result.stderr


def _raising(error: BaseException) -> click.Group:
    def body() -> None:
        raise error

    group = _Commands(name="group")
    group.add_command(click.Command("work", callback=body))
    return group


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.EROFS, "Read-only", "/mnt/x"), 3, "/mnt/x: Read-only\nhint: the disk is mounted"),
        (OSError(errno.EIO, "Bad disk"), 3, "the system refuses an operation: Bad disk\nhint: the disk or"),
        (OSError(errno.ENOSPC, "No space", "a", None, "b"), 3, "a and b: No space\nhint: free some"),
        (OSError(errno.EMFILE, "Too many", "a"), 3, "a: Too many\nhint: raise the limit on open files"),
        (OSError("the library says\nwhy"), 3, "the library says why\nhint: check the file"),
        (TimeoutError(), 3, "TimeoutError\nhint: check"),
        (OSError(errno.EBUSY, "Busy", 7), 3, "the system refuses an operation: Busy\nhint: check the file"),
        (MemoryError(), 3, "there is not enough memory\nhint: use a smaller input"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), 3, "there is not enough memory"),
        (RuntimeError("can't start new thread"), 3, "the system starts no more threads\nhint: raise the"),
        (RuntimeError("Symlink loop from 'a'"), 3, "the system refuses an operation: Too many levels"),
        (ImportError("libx.so: no", name="torch"), 3, "a package cannot be imported: libx.so: no\nhint: "),
        (UnicodeEncodeError("utf-8", "", 0, 1, "surrogates not allowed"), 3, "an input holds a lone"),
        (RecursionError("maximum recursion depth"), 3, "an input is nested too deeply\nhint: look for"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)  # fmt: skip
def test_every_refusal_of_the_system_has_one_line_and_a_hint(
    error: BaseException, code: int, said: str
) -> None:
    result = CliRunner().invoke(_raising(error), ["work"])
    assert result.exit_code == code
    assert result.stderr.startswith(said if code == 130 else f"error: {said}")


def test_a_bug_keeps_its_traceback() -> None:
    ours = ImportError("a bug", name="dami_merge.cli.nothing")
    for error in (RuntimeError("a bug"), ValueError("a bug"), ours):
        result = CliRunner().invoke(_raising(error), ["work"])
        assert result.exception is error


def test_a_usage_error_that_the_system_caused_is_unfit_input() -> None:
    refused = RecipeError("recipe.yaml: Permission denied")
    refused.__cause__ = PermissionError()
    assert CliRunner().invoke(_raising(refused), ["work"]).exit_code == 3
    assert CliRunner().invoke(_raising(RecipeError("unknown field")), ["work"]).exit_code == 2


def test_every_errno_gets_a_hint_and_a_full_disk_its_own_class() -> None:
    for number in errno.errorcode:
        error = system_error(OSError(number, os.strerror(number), "name"))
        assert str(error) == f"name: {os.strerror(number)}"
        assert error.hint
        assert isinstance(error, DiskFull) == (number in {errno.ENOSPC, errno.EDQUOT})


def test_json_carries_the_error_of_the_system(tmp_path: Path) -> None:
    result = run("report", "--rollouts", tmp_path / LONG, "--json")
    assert result.exit_code == 3
    assert "File name too long" in json.loads(result.stdout)["error"]["message"]


def test_a_name_that_is_not_utf_8_is_shown_and_is_valid_json() -> None:
    name = os.fsdecode(b"no-\xff-grid")
    result = run("verify", name, "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["error"]["message"].startswith("no-\ufffd-grid/grid.json")
