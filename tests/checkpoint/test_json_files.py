"""Small JSON files, whoever wrote them: read, or refused with the file's name."""

from pathlib import Path

import pytest

from dami_merge.checkpoint.json_files import read_json
from dami_merge.errors import InputRefused


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "cannot be read: Expecting property name"),
        (b"\xff", "cannot be read: .*can't decode byte"),
        (b"[" * 33 + b"]" * 33, "is nested deeper than 32 levels"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "is nested deeper than 32 levels"),
        (b"[" * 100_000, "is nested deeper than 32 levels"),
        (b'{"a": "\\ud800"}', r"holds U\+D800, half of a surrogate pair"),
        (b'{"\\uDFFF": 1}', r"holds U\+DFFF, half of a surrogate pair"),
    ],
)
def test_what_is_not_plain_json_is_refused_with_the_model_and_the_file(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputRefused, match=rf"^org/m: x\.json {message}") as caught:
        read_json(tmp_path / "x.json", spec="org/m")
    assert [problem.code for problem in caught.value.problems] == ["json"]


def test_a_file_that_is_not_there_or_may_not_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"^absent\.json cannot be read: No such file or directory$"):
        read_json(tmp_path / "absent.json")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputRefused, match=r"^folder\.json cannot be read: Is a directory$"):
        read_json(tmp_path / "folder.json")


def test_what_only_looks_odd_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b'["\\ud83d\\ude00", "\\\\ud800", ' + b"[" * 31 + b"]" * 31 + b"]")
    content = read_json(path)
    assert isinstance(content, list)
    assert content[:2] == ["\U0001f600", "\\ud800"]
