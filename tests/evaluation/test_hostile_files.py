"""Files that nobody should pass: each is refused with what is wrong and the way out, without a traceback."""

import contextlib
import json
import os
import random
from itertools import pairwise
from pathlib import Path

import pytest

from dami_merge.errors import DamiMergeError, InputRefused, RecipeError, UsageError
from dami_merge.evaluation.generation import Generation, Request
from dami_merge.evaluation.grading.grader import Grader
from dami_merge.evaluation.questions.importers import read_questions
from dami_merge.evaluation.rollouts_file import open_rollouts, read_rollouts, read_sidecar, sidecar_path
from dami_merge.evaluation.sweep import graded
from dami_merge.evaluation.sweep_recipe import read_sweep_recipe
from dami_merge.sampling import SamplingSettings
from tests.cli.test_grid import run
from tests.evaluation.test_rollouts_file import QUESTIONS, SETTINGS, _filled, _row

DEEP = 100_000
FIELDS = {
    "question": "q000", "group": "", "lambda": "1/2", "sample": 0, "text": "yes", "tokens": 3,
    "finish": "stop", "thinking": "none", "answer": "yes", "correct": True, "seconds": 0.5,
    "settings": SETTINGS.digest(),
}  # fmt: skip
GOOD = '{"prompt": "1+1", "answer": "2"}'


def changed(**fields: object) -> bytes:
    return json.dumps(FIELDS | fields).encode()


ROLLOUTS = {
    "10**30 tokens": (changed(tokens=10**30), "out of range|<= 9007199254740991"),
    "5000 digits": (changed().replace(b'"tokens": 3', b'"tokens": ' + b"9" * 5000), "out of range"),
    "negative tokens": (changed(tokens=-1), "`int` >= 0"),
    "negative sample": (changed(sample=-1), "`int` >= 0"),
    "negative seconds": (changed(seconds=-1.0), "`float` >= 0"),
    "bool tokens": (changed(tokens=True), "Expected `int`, got `bool`"),
    "int correct": (changed(correct=1), "Expected `bool`, got `int`"),
    "nan": (changed(seconds=float("nan")), "malformed"),
    "infinity": (changed(seconds=float("inf")), "malformed"),
    "1e999": (changed().replace(b"0.5", b"1e999"), "out of range"),
    "surrogate": (changed(text="\ud800"), "surrogate"),
    "latin-1": (changed(text="x").replace(b'"x"', b'"\xff"'), "utf-8"),
    "deep": (b'{"question":' + b"[" * DEEP, "Expected `str`"),
    "deep unknown": (b'{"other":' + b"[" * DEEP + b"]" * DEEP + b"}", "unknown field"),
    "utf-16": (changed().decode().encode("utf-16"), "malformed"),
    "another lambda": (changed(**{"lambda": "2/4"}), "`lambda` is '2/4'"),
    "zero below": (changed(**{"lambda": "1/0"}), "lambda"),
    "beyond one": (changed(**{"lambda": "3/2"}), "`lambda` is '3/2'"),
    "a word": (changed(**{"lambda": "half"}), "lambda"),
    "long lambda": (changed(**{"lambda": "1/" + "9" * 9000}), "lambda"),
    "empty": (b"", "malformed|truncated"),
    "nul": (b"\0", "malformed"),
}


@pytest.mark.parametrize("name", ROLLOUTS)
def test_a_hostile_line_of_a_rollouts_file_is_named_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    line, words = ROLLOUTS[name]
    path = tmp_path / "r.jsonl"
    path.write_bytes(_filled(path, _row("q001")) + line + b"\n")
    before = path.read_bytes()
    with pytest.raises(InputRefused, match=words) as no:
        read_rollouts(path)
    assert "line 2" in str(no.value)
    assert no.value.exit_code == 3
    with pytest.raises(InputRefused), open_rollouts(path, SETTINGS, QUESTIONS):
        pass
    assert path.read_bytes() == before
    result = run("report", "--rollouts", path, "-o", tmp_path / "page.html")
    assert (result.exit_code, "line 2" in result.stderr) == (3, True)


def test_windows_line_ends_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    rows = _row("q000"), _row("q001")
    content = _filled(path, *rows)
    path.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert read_rollouts(path) == rows


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * DEEP, "Expected `object`"),
        (b'{"settings":' * 5000, "Expected|missing|depth|unknown"),
        (b"\xff", "malformed|decode"),
        (b"", "truncated"),
    ],
)
def test_hostile_settings_beside_the_rollouts_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "r.jsonl"
    _filled(path, _row("q000"))
    sidecar_path(path).write_bytes(content)
    with pytest.raises(InputRefused, match=words):
        read_sidecar(path)


QUESTION_FILES = {
    "deep list": ("[" * DEEP, "nested too deeply|invalid JSON"),
    "deep record": (GOOD + '\n{"prompt": ' + "[" * DEEP + "]" * DEEP + "}", "line 2: nested too deeply"),
    "deep answer": ('{"prompt": "a", "answer": ' + "[" * 500 + "]" * 500 + "}", "not a string or a number"),
    "long answer": (json.dumps({"prompt": "a", "answer": list(range(10**5))}), r"\[0, 1, 2"),
    "surrogate prompt": ('{"prompt": "a\\ud800", "answer": "2"}', r"lone surrogate \('\\ud800'\)"),
    "surrogate answer": ('{"prompt": "a", "answer": "\\udfff"}', "lone surrogate"),
    "surrogate id": ('{"prompt": "a", "answer": "2", "id": "\\ud800"}', "lone surrogate"),
    "surrogate field": ('{"\\ud800": "a"}', "unknown question format"),
    "nan": ('{"prompt": "a", "answer": NaN}', "nan, not a string"),
    "infinity": ('{"prompt": "a", "answer": Infinity}', "inf, not a string"),
    "bool": ('{"prompt": "a", "answer": true}', "True, not a string"),
    "null": ('{"prompt": "a", "answer": null}', "missing or empty"),
    "5000 digits": ('{"prompt": "a", "answer": ' + "9" * 5000 + "}", "4300 digits|Exceeds the limit"),
    "nul": ("\0" * 50, "invalid JSON"),
    "kind": ('{"prompt": "a", "answer": "2", "kind": "' + "x" * 10**6 + '"}', "'kind' is"),
    "role": (
        '{"messages": [{"role": "' + "x" * 10**6 + '", "content": "a"}], "answer": "2"}',
        "last message",
    ),
    "deep gsm": ('{"question": "a", "answer": ' + "[" * 500 + "]" * 500 + "}", "not a string"),
}


@pytest.mark.parametrize("name", QUESTION_FILES)
def test_hostile_questions_are_named(tmp_path: Path, name: str) -> None:
    text, words = QUESTION_FILES[name]
    file = tmp_path / "q.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputRefused, match=words) as no:
        read_questions(str(file))
    assert no.value.exit_code == 3
    assert len(str(no.value)) < 2000


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "utf-32"])
def test_questions_in_another_encoding_are_refused_with_the_way_out(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "q.jsonl"
    file.write_text(GOOD.replace("1+1", "für"), encoding=encoding)
    with pytest.raises(InputRefused, match=r"not valid UTF-8 \(convert it, for example with `iconv"):
        read_questions(str(file))


def test_questions_with_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + f"{GOOD}\r\n{GOOD}\r\n".encode())
    assert [question.answer for question in read_questions(str(file))] == ["2", "2"]


def test_a_folder_a_pipe_and_a_name_with_a_nul_are_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path):
        with pytest.raises(InputRefused, match="not a regular file"):
            read_questions(str(path))
        with pytest.raises(InputRefused, match="not a regular file"):
            read_rollouts(path)
        with pytest.raises(RecipeError, match="not a regular file"):
            read_sweep_recipe(path)
    with pytest.raises(InputRefused, match="null byte"):
        read_questions("a\0b")


ALIASES = "a: &a [x, x]\n" + "\n".join(f"{b}: &{b} [*{a}, *{a}]" for a, b in pairwise("abcdefghijkl"))
RECIPES = {
    "deep list": ("questions: " + "[\n" * DEEP, "nested too deeply"),
    "deep mapping": ("{a:\n" * 5000, "nested too deeply"),
    "aliases": (ALIASES, "unknown field"),
    "loop": ("lambdas: &a [*a]", "lambdas"),
    "surrogate": ('questions: "a\\uD800"', "half of a surrogate pair|not valid YAML"),
    "date": ("questions: 2024-13-41", "not valid YAML"),
    "huge int": ("seed: " + "9" * 5000, "not valid YAML|seed"),
    "10**30": ("seed: " + "9" * 30, "seed"),
    "negative seed": ("seed: -1", "`int` >= 0"),
    "10**12 samples": ("samples: 1000000000000", "`int` <= 1000000"),
    "bool": ("samples: true", "Expected `int"),
    "nan": ("temperature: .nan", "temperature"),
    "infinity": ("temperature: .inf", "temperature"),
    "nan lambda": ("lambdas: [.nan]", "λ"),
    "infinite lambda": ("lambdas: [.inf]", "λ"),
    "long lambda": ("lambdas: ['1/" + "9" * 5000 + "']", "λ"),
    "no timeout": ("grader_timeout: 0", "`float` > 0"),
    "nan timeout": ("grader_timeout: .nan", "grader_timeout"),
    "nul": ("\0", "not valid YAML"),
    "python": ("questions: !!python/object/apply:os.system ['true']", "not valid YAML"),
    "list": ("- a", "Expected `object`"),
    "key": ("? [a]\n: b", "not valid YAML|Expected|sweep.yaml"),
    "large": ("# " + "x" * (1 << 20), "has more than 1,048,576 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_hostile_recipe_is_refused(tmp_path: Path, name: str) -> None:
    text, words = RECIPES[name]
    file = tmp_path / "sweep.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words) as no:
        read_sweep_recipe(file)
    assert "sweep.yaml" in str(no.value)
    result = run("sweep", "--live", "bundled:tiny/instruct", "bundled:tiny/thinking", "--recipe", file)
    assert (result.exit_code, result.stderr[:6]) == (2, "error:")


def test_a_recipe_in_another_encoding_is_refused_and_a_byte_order_mark_is_not(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_bytes("seed: 1 # für".encode("latin-1"))
    with pytest.raises(RecipeError, match="not valid UTF-8"):
        read_sweep_recipe(file)
    file.write_bytes(b"\xef\xbb\xbfseed: 1\r\nsamples: 2\r\n")
    assert (read_sweep_recipe(file).seed, read_sweep_recipe(file).samples) == (1, 2)


def test_half_a_character_of_a_server_is_stored_as_a_replacement(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    request = Request(QUESTIONS[0], _row("q000").lam, 0)
    with Grader() as grader, open_rollouts(path, SETTINGS, QUESTIONS) as file:
        generation = Generation("a\ud800b \U0001f600", 3, "stop", 0.5)
        file.append(graded(request, generation, grader, settings=file.settings, sampling=SamplingSettings()))
    assert read_rollouts(path)[0].text == "a\ufffdb \U0001f600"


def test_bytes_drawn_at_random_never_cause_another_error(tmp_path: Path) -> None:
    chance = random.Random(3)
    words = r"""{ } [ ] " : , - & * ? | ! 1 a NaN 1e999 \ud800 seed "prompt" "answer" "a" null true"""
    pieces = [*words.encode().split(), b"\n", b"\0", b"\xff", b"\t", b" "]
    file = tmp_path / "x.jsonl"
    for _ in range(300):
        file.write_bytes(b"".join(chance.choice(pieces) for _ in range(chance.randint(1, 25))))
        for read in (lambda path: read_questions(str(path)), read_rollouts, read_sweep_recipe, read_sidecar):
            with contextlib.suppress(DamiMergeError):  # anything else fails the test
                read(file)
