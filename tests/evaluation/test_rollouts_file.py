"""A rollouts file loses, doubles and mixes nothing."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from dami_merge.errors import DiskFull, InputRefused, OutputRefused
from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.rollouts_file import (
    RolloutsFile,
    Settings,
    open_rollouts,
    read_rollouts,
    read_sidecar,
    settings_of,
    sidecar_path,
)
from dami_merge.sampling import SamplingSettings
from tests.evaluation.arithmetic import sums

QUESTIONS = sums(4)
SETTINGS = settings_of({"kind": "calculator"}, "default", SamplingSettings())


def _row(question: str, sample: int = 0, fraction: str = "1/2", text: str = "yes") -> Rollout:
    return Rollout(
        question=question,
        group="even",
        fraction=fraction,
        sample=sample,
        text=text,
        tokens=3,
        finish="stop",
        thinking="none",
        answer="yes",
        correct=True,
        seconds=0.5,
        settings=SETTINGS.digest(),
    )


def _filled(path: Path, *rows: Rollout) -> bytes:
    with open_rollouts(path, SETTINGS, QUESTIONS) as file:
        for row in rows:
            file.append(row)
    return path.read_bytes()


def test_what_is_appended_is_read_again_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    rows = _row("q000"), _row("q001", text='two\nlines, λ and "quotes"\u2028')
    content = _filled(path, *rows)
    assert content.count(b"\n") == 2
    assert [json.loads(line)["lambda"] for line in content.split(b"\n")[:-1]] == ["1/2", "1/2"]
    assert read_rollouts(path) == rows
    with open_rollouts(path, SETTINGS, QUESTIONS) as file:
        assert file.done == 2
        assert file.holds("1/2", "q000", 0)
        assert not file.holds("1/2", "q000", 1)
        assert not file.holds("1/1", "q000", 0)


def test_beside_it_lies_what_it_was_made_with(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    _filled(path)
    sidecar = read_sidecar(path)
    assert sidecar.settings == SETTINGS
    assert sidecar.questions == {question.id: question for question in QUESTIONS}


@pytest.mark.parametrize("kept", range(1, 40, 3))
def test_a_torn_end_is_cut_off_and_made_again(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "r.jsonl"
    whole = _filled(path, _row("q000"), _row("q001"))
    first = whole.index(b"\n") + 1
    path.write_bytes(whole[: first + kept])
    assert read_rollouts(path) == (_row("q000"),)
    assert _filled(path, _row("q001")) == whole


def test_reading_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    torn = _filled(path, _row("q000")) + b'{"question":'
    path.write_bytes(torn)
    read_rollouts(path)
    assert path.read_bytes() == torn


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", 0.7), ("top_p", 0.8), ("top_k", 0), ("max_tokens", 5), ("seed", 1),
     ("grader", "mine.py:check"), ("backend", {"kind": "other"})],
)  # fmt: skip
def test_other_settings_are_refused_with_both_values(tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / "r.jsonl"
    before = _filled(path, _row("q000"))
    other: Settings = msgspec.structs.replace(SETTINGS, **{name: value})
    message = rf"{name} was .*, is "
    with pytest.raises(OutputRefused, match=message) as no, open_rollouts(path, other, QUESTIONS):
        pass
    assert str(value) in str(no.value)
    assert path.read_bytes() == before
    assert read_sidecar(path).settings == SETTINGS
    assert other.digest() != SETTINGS.digest()


def test_a_question_that_changed_is_refused_and_a_new_one_is_added(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    _filled(path, _row("q000"))
    changed = [replace(QUESTIONS[0], answer="7"), *QUESTIONS[1:]]
    with (
        pytest.raises(OutputRefused, match="question 'q000' has changed"),
        open_rollouts(path, SETTINGS, changed),
    ):
        pass
    with open_rollouts(path, SETTINGS, sums(6)[4:]) as file:
        assert file.done == 1
    assert list(read_sidecar(path).questions) == [question.id for question in sums(6)]


def test_a_second_run_on_one_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    program = (
        "import sys, pathlib\n"
        "from tests.evaluation.test_rollouts_file import SETTINGS, QUESTIONS, open_rollouts\n"
        "with open_rollouts(pathlib.Path(sys.argv[1]), SETTINGS, QUESTIONS):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(OutputRefused, match=f"another run is working on {path}"),
            open_rollouts(path, SETTINGS, QUESTIONS),
        ):
            pass
        holder.kill()
    assert _filled(path) == b""


def test_a_sample_that_is_there_is_never_added_again(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with open_rollouts(path, SETTINGS, QUESTIONS) as file:
        file.append(_row("q000"))
        with pytest.raises(ValueError, match="is already in the file"):
            file.append(_row("q000"))
    assert len(read_rollouts(path)) == 1


def test_lines_of_another_form_and_doubled_ones_are_all_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    line = _filled(path, _row("q000"))
    path.write_bytes(line + b"not json\n" + line + b'{"question": 3}\n')
    with pytest.raises(InputRefused, match="line 2: ") as no:
        read_rollouts(path)
    assert "lines 1 and 3 are the same sample" in str(no.value)
    assert "line 4: " in str(no.value)
    assert len(no.value.problems) == 3


def test_rollouts_without_their_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    before = _filled(path, _row("q000"))
    sidecar_path(path).unlink()
    with (
        pytest.raises(InputRefused, match=r"r\.jsonl\.settings\.json: No such file"),
        open_rollouts(path, SETTINGS, QUESTIONS),
    ):
        pass
    assert path.read_bytes() == before


def test_a_full_disk_is_said_and_the_lines_before_are_whole(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    path = tmp_path / "r.jsonl"
    with open_rollouts(path, SETTINGS, QUESTIONS) as file:
        file.append(_row("q000"))
        full = os.open("/dev/full", os.O_WRONLY)
        whole, file._descriptor = file._descriptor, full
        try:
            with pytest.raises(DiskFull, match="is full"):
                file.append(_row("q001"))
        finally:
            file._descriptor = whole
            os.close(full)
        assert not file.holds("1/2", "q001", 0)
    assert read_rollouts(path) == (_row("q000"),)


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.symlink_to(tmp_path / "no folder" / "r.jsonl")
    with (
        pytest.raises(OutputRefused, match=r"r\.jsonl cannot be written: No such file"),
        open_rollouts(path, SETTINGS, QUESTIONS),
    ):
        pass


def test_a_broken_file_is_refused_and_its_questions_are_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(_filled(path, _row("q000")) + b"broken\n")
    before = {file: file.read_bytes() for file in (path, sidecar_path(path))}
    with pytest.raises(InputRefused, match="line 2: "), open_rollouts(path, SETTINGS, sums(9)):
        pass
    assert {file: file.read_bytes() for file in (path, sidecar_path(path))} == before


def test_of_many_changes_five_are_named_and_the_others_counted(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    _filled(path, _row("q000"))
    other: Settings = msgspec.structs.replace(SETTINGS, seed=9, top_k=1, top_p=0.5)
    changed = [replace(question, answer="none") for question in QUESTIONS]
    with pytest.raises(OutputRefused) as no, open_rollouts(path, other, changed):
        pass
    said = str(no.value)
    assert said.count(" was ") == 4  # three settings, and that the file was made with other settings
    assert said.count(" has changed") == 2
    assert said.endswith("(and 2 more)")


def test_rows_that_were_copied_from_a_sweep_with_other_settings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    other = msgspec.structs.replace(_row("q001"), settings="0" * 16)
    path.write_bytes(_filled(path, _row("q000")) + msgspec.json.encode(other) + b"\n")
    before = path.read_bytes()
    message = f"has rows with the settings {'0' * 16}; those beside it are {SETTINGS.digest()}"
    with pytest.raises(OutputRefused, match=message), open_rollouts(path, SETTINGS, QUESTIONS):
        pass
    assert path.read_bytes() == before


def test_two_rows_of_one_sample_that_contradict_each_other_are_both_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    wrong = msgspec.structs.replace(_row("q000"), correct=False, tokens=9)
    torn = msgspec.json.encode(wrong)
    content = _filled(path, _row("q000"))
    path.write_bytes(content + torn[:-5])
    assert read_rollouts(path) == (_row("q000"),)
    path.write_bytes(content + torn + b"\n")
    with pytest.raises(InputRefused, match="lines 1 and 2 are the same sample"):
        read_rollouts(path)


def test_half_a_line_alone_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    _filled(path)
    path.write_bytes(b'{"question": "q0')
    assert read_rollouts(path) == ()
    assert _filled(path, _row("q001")).count(b"\n") == 1
    assert read_rollouts(path) == (_row("q001"),)


def test_a_digest_goes_by_what_the_settings_say_and_not_by_their_order() -> None:
    there = {"kind": "hf", "weights": "w"}
    back = dict(reversed(there.items()))
    assert list(back) != list(there)
    digests = {settings_of(each, "default", SamplingSettings()).digest() for each in (there, back)}
    assert len(digests) == 1
    assert re.fullmatch("[0-9a-f]{16}", digests.pop())


def test_a_line_that_the_system_takes_in_parts_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / "r.jsonl", os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    _filled(path, _row("q000"), _row("q001"))
    monkeypatch.undo()
    assert read_rollouts(path) == (_row("q000"), _row("q001"))


@contextmanager
def _opened_and_failing(path: Path) -> Iterator[RolloutsFile]:
    with open_rollouts(path, SETTINGS, QUESTIONS) as file:
        yield file
        raise RuntimeError("gone")


def test_a_run_that_fails_before_its_first_sample_leaves_no_new_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with pytest.raises(RuntimeError, match="gone"), _opened_and_failing(path):
        pass
    assert list(tmp_path.iterdir()) == []
    path.symlink_to(path)
    with pytest.raises(OutputRefused, match="cannot be written"), open_rollouts(path, SETTINGS, QUESTIONS):
        pass
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_that_fails_after_a_sample_keeps_its_files_and_so_does_one_that_was_there(
    tmp_path: Path,
) -> None:
    path = tmp_path / "r.jsonl"
    with pytest.raises(RuntimeError, match="gone"), _opened_and_failing(path) as file:
        file.append(_row("q000"))
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert len(before) == 3
    with pytest.raises(RuntimeError, match="gone"), _opened_and_failing(path):
        pass
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before
