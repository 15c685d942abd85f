"""Texts come from any JSONL of the usual shapes, and what is none is named."""

import os
from pathlib import Path

import pytest

from dami_merge.bundled import bundled_questions
from dami_merge.connectivity.texts import Text, read_texts
from dami_merge.errors import InputRefused


def test_plain_texts_prompts_and_prompts_with_answers_are_read(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(
        '{"text": "λ rises", "id": 1}\n\n{"prompt": "2+2?"}\n{"answer": "4", "prompt": "2+2?"}\n',
        encoding="utf-8",
    )
    assert read_texts(file) == (Text("", "λ rises"), Text("2+2?", ""), Text("2+2?", "4"))
    assert read_texts(file, limit=1) == (Text("", "λ rises"),)


def test_the_bundled_questions_are_such_texts() -> None:
    texts = read_texts(bundled_questions())
    assert len(texts) == 200
    assert all(text.prompt and text.scored for text in texts)


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "{",
        "[" * 100_000,
        '{"prompt": "a\\ud800"}',
        '{"text": ""}',
        '{"text": 3}',
        '{"prompt": "a", "answer": 4}',
        '{"question": "a"}',
        "7",
    ],
)
def test_a_line_of_another_form_is_named(line: str, tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(f'{{"text": "a"}}\n{line}\n', encoding="utf-8")
    with pytest.raises(InputRefused, match=r"1 line\(s\) that are neither .*: 2 \("):
        read_texts(file)


def test_a_pipe_is_refused_and_a_line_separator_inside_a_text_ends_no_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputRefused, match="is not a regular file"):
        read_texts(tmp_path / "pipe")
    (tmp_path / "t.jsonl").write_bytes('\ufeff{"text": "a\u2028b"}\r\n{"text": "c"}\r\n'.encode())
    assert [text.scored for text in read_texts(tmp_path / "t.jsonl")] == ["a\u2028b", "c"]


def test_five_bad_lines_are_named_and_the_others_counted(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text("x\n" * 7, encoding="utf-8")
    with pytest.raises(InputRefused, match=r"7 line\(s\) .*: 1, 2, 3, 4, 5, … \("):
        read_texts(file)


def test_a_file_that_is_missing_empty_or_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="No such file"):
        read_texts(tmp_path / "no.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(InputRefused, match="contains no texts"):
        read_texts(tmp_path / "empty.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"text": "\xe9"}\n')
    with pytest.raises(InputRefused, match="is not UTF-8"):
        read_texts(tmp_path / "latin.jsonl")
