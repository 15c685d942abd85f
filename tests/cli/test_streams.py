"""The standard streams of the program: harmless text, honest failures."""

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
from rich.table import Table
from rich.text import Text
from tqdm import tqdm

from dami_merge.cli.drawing import Screen
from dami_merge.cli.streams import Stream, StreamLost, unescaped
from tests.checkpoints import near, random_tensors, write_checkpoint
from tests.terminal import shown_on

HOSTILE = "\x1b[31m\x1b]0;owned\x07[red]\u202e"
SHOWN = r"\u001b[31m\u001b]0;owned\u0007[red]\u202e"


def program(
    *arguments: object, stdout: int | IO[bytes] = subprocess.PIPE, stderr: int | IO[bytes] = subprocess.PIPE
) -> int:
    """Exit code of the real program with these streams."""
    command = [sys.executable, "-m", "dami_merge", *map(str, arguments)]
    return subprocess.run(command, stdout=stdout, stderr=stderr, check=False).returncode


def stream_into(raw: io.BytesIO) -> Stream:
    return Stream(io.TextIOWrapper(raw, encoding="utf-8", write_through=True))


def test_whatever_is_printed_is_escaped_and_what_is_drawn_is_not() -> None:
    raw = io.BytesIO()
    stream = stream_into(raw)
    print(HOSTILE, file=stream)
    unescaped(stream).write("\x1b[1m")
    assert raw.getvalue() == f"{SHOWN}\n\x1b[1m".encode()


def test_an_ascii_stream_is_written_as_utf_8_and_a_latin_one_loses_letters_but_goes_on() -> None:
    for encoding, written in (("ascii", "λ".encode()), ("latin-1", b"?")):
        raw = io.BytesIO()
        stream = Stream(io.TextIOWrapper(raw, encoding=encoding, write_through=True))
        stream.write("λ")
        assert raw.getvalue() == written


def test_the_progress_bar_of_a_library_still_redraws_its_line() -> None:
    raw = io.BytesIO()
    stream = stream_into(raw)
    with (
        tqdm(total=2, file=stream, desc=HOSTILE, mininterval=0, leave=False) as bar,
        tqdm(total=2, file=stream, position=1, mininterval=0, leave=False) as other,
    ):
        bar.update()
        other.update()
    written = raw.getvalue().decode()
    assert r"\u000d" not in written
    assert written.count("\r") > 4
    assert "\x1b[A" in written
    assert "\x1b[31m" not in written


def test_a_carriage_return_or_a_move_inside_a_text_is_escaped() -> None:
    raw = io.BytesIO()
    stream = stream_into(raw)
    stream.write("name\rerror: none")
    stream.write("\x1b[Aname")
    assert raw.getvalue() == rb"name\u000derror: none" + rb"\u001b[Aname"


@pytest.mark.parametrize("make", [str, Text])
def test_a_table_shows_hostile_names_and_keeps_its_own_colours(
    monkeypatch: pytest.MonkeyPatch, make: type[str] | type[Text]
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", stream_into(raw))
    monkeypatch.setenv("TERM", "xterm-256color")
    screen = Screen(width=100)
    monkeypatch.setattr(screen, "_color_system", 3)  # as on a terminal with true colours
    table = Table("name", box=None)
    table.add_row(make(HOSTILE))
    table.add_row(Text("fine", "green"))
    screen.print(table)
    lines = raw.getvalue().decode().splitlines()
    assert lines[1].strip() == (SHOWN if make is str else r"\u001b[31m\u001b]")  # a Text is cut, not obeyed
    assert "\x1b[32mfine" in lines[2]


def test_a_failed_write_names_the_stream() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123 - a device
        stream = Stream(full)
        with pytest.raises(StreamLost, match="No space left") as lost:
            print("x" * 100_000, file=stream)
        assert lost.value.filename == "/dev/full"
        stream.write("x")
        with pytest.raises(StreamLost, match="No space left"):
            stream.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


def test_a_full_output_is_an_error_with_a_hint_and_a_closed_pipe_is_quiet() -> None:
    with Path("/dev/full").open("wb") as full:
        for arguments in (["--help"], ["verify", "none", "--json"]):
            done = subprocess.run(
                [sys.executable, "-m", "dami_merge", *arguments], stdout=full, stderr=subprocess.PIPE,
                text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 3
            assert done.stderr == (
                "error: standard output cannot be written: No space left on device\n"
                "hint: free some space, or send the output elsewhere\n"
            )
        assert program("verify", "none", stderr=full) == 3
        assert program("--help", stdout=full, stderr=full) == 3
    reader, writer = os.pipe()
    os.close(reader)
    quiet = subprocess.run(
        [sys.executable, "-m", "dami_merge", "--help"], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (quiet.returncode, quiet.stderr) == (141, b"")


def test_closed_streams_are_the_null_device() -> None:
    for redirect in (">&-", "2>&-", "<&- >&- 2>&-"):
        command = f'"{sys.executable}" -m dami_merge verify no-such-grid {redirect}'
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 3
        assert "Traceback" not in done.stderr


def test_no_hostile_name_reaches_a_terminal_and_json_keeps_its_value(tmp_path: Path) -> None:
    name = f"model.layers.0.{HOSTILE}.weight"
    tensors = {name: random_tensors(seed=0).popitem()[1]}
    sides = [tmp_path / f"{HOSTILE}-{which}" for which in ("instruct", "thinking")]
    template = {"chat_template.jinja": "{{ '" + HOSTILE + "' }}"}
    write_checkpoint(sides[0], tensors)
    write_checkpoint(sides[1], near(tensors), extra=template)
    leader, follower = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "dami_merge", "check-lmc", *map(str, sides), "--tensors", "--diff", "--csv",
         str(tmp_path / "t.csv")],
        stdout=follower, stderr=follower, check=False, env={**os.environ, "COLUMNS": "300"},
    )  # fmt: skip
    os.close(follower)
    shown = shown_on(leader)
    assert done.returncode in {0, 1}
    assert r"\u001b[31m\u001b]0;owned\u0007[red]\u202e" in shown
    assert not {"\x1b]", "\x07", "\u202e"} & {*shown, shown[shown.find("\x1b]") : shown.find("\x1b]") + 2]}
    assert "\x1b" not in (tmp_path / "t.csv").read_text(encoding="utf-8")
    done_json = subprocess.run(
        [sys.executable, "-m", "dami_merge", "check-lmc", *map(str, sides), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not {"\x1b", "\u202e", "\x07"} & set(done_json.stdout)
    assert name in {each["name"] for each in json.loads(done_json.stdout)["tensors"]}
