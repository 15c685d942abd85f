"""Row i of the embedding must be the same token on both sides."""

import json
import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from dami_merge.checkpoint.folder import Checkpoint, open_folder
from dami_merge.checkpoint.tokenizer import template_note, tokenizer_problems
from dami_merge.errors import InputRefused, Problem
from tests.checkpoints import TOKENIZER, TOKENIZER_CONFIG, random_tensors, write_checkpoint, write_json


def checkpoint(
    folder: Path,
    tokenizer: Mapping[str, object] = TOKENIZER,
    tokenizer_config: Mapping[str, object] = TOKENIZER_CONFIG,
    extra: Mapping[str, str] = {},
) -> Checkpoint:
    tensors = {"a": random_tensors(seed=0)["model.norm.weight"]}
    written = write_checkpoint(
        folder, tensors, tokenizer=tokenizer, tokenizer_config=tokenizer_config, extra=extra
    )
    return open_folder(written, spec=folder.name)


def bare(folder: Path, files: Mapping[str, str]) -> Checkpoint:
    """A checkpoint with these tokenizer files alone."""
    made = checkpoint(folder, extra=files)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if name not in files:
            (made.root / name).unlink()
    return made


def edited(change: Callable[[Any], object]) -> dict[str, object]:
    tokenizer = deepcopy(dict(TOKENIZER))
    change(tokenizer)
    return tokenizer


def told(problems: list[Problem]) -> list[tuple[str, str, str]]:
    return [(problem.code, problem.message, problem.field) for problem in problems]


def test_equal_tokenizers_have_no_problem(tmp_path: Path) -> None:
    assert tokenizer_problems(checkpoint(tmp_path / "i"), checkpoint(tmp_path / "t")) == []


def test_another_layout_of_the_same_tokenizer_has_no_problem(tmp_path: Path) -> None:
    reordered = {**edited(lambda t: t["added_tokens"].reverse()), "truncation": None}
    assert tokenizer_problems(checkpoint(tmp_path / "i"), checkpoint(tmp_path / "t", reordered)) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda t: t["model"]["vocab"].update(a=3, b=2),
            (
                "vocabulary",
                "2 token id(s) differ: 'a' is 2 in instruct and 3 in thinking (4 and 4 tokens in total)",
                "tokenizer.vocabulary",
            ),
        ),
        (
            lambda t: t["model"]["vocab"].update(c=4),
            (
                "vocabulary",
                "1 token id(s) differ: 'c' is absent in instruct and 4 in thinking (4 and 5 tokens in total)",
                "tokenizer.vocabulary",
            ),
        ),
        (
            lambda t: t["model"]["merges"].append("a b"),
            ("vocabulary", "the BPE merges differ", "tokenizer.merges"),
        ),
        (
            lambda t: t["added_tokens"].append({"id": 4, "content": "<think>"}),
            (
                "special-token",
                "added token 4 is absent in instruct and '<think>' in thinking",
                "tokenizer.added_tokens",
            ),
        ),
        (
            lambda t: t["added_tokens"][1].update(content="<eot>"),
            (
                "special-token",
                "added token 1 is '<end>' in instruct and '<eot>' in thinking",
                "tokenizer.added_tokens",
            ),
        ),
    ],
)
def test_a_token_that_is_not_the_same_is_named_with_both_values(
    tmp_path: Path, change: Callable[[Any], object], expected: tuple[str, str, str]
) -> None:
    problems = tokenizer_problems(checkpoint(tmp_path / "i"), checkpoint(tmp_path / "t", edited(change)))
    assert told(problems) == [expected]
    assert f"--allow-config {expected[2]}" in problems[0].hint


def merging(*merges: object) -> dict[str, object]:
    return edited(lambda t: t["model"].update(merges=list(merges)))


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (["a b", "ab c"], [["a", "b"], ["ab", "c"]]),
        (["#version: 0.2", "a b"], [["a", "b"]]),
        ([], []),
    ],
)
def test_merges_are_the_same_in_the_forms_of_two_releases_of_tokenizers(
    tmp_path: Path, older: list[object], newer: list[object]
) -> None:
    """The bytes differ, so that the whole tokenizer is compared."""
    left, right = checkpoint(tmp_path / "i", merging(*older)), checkpoint(tmp_path / "t", merging(*newer))
    assert tokenizer_problems(left, right) == tokenizer_problems(right, left) == []


def test_both_forms_of_merges_are_one_tokenizer_to_the_library_too() -> None:
    vocab = {"a": 0, "b": 1, "ab": 2, " b": 3, "a b": 4, "a ": 5}

    def read(merges: list[object]) -> object:
        model = {"type": "BPE", "vocab": vocab, "merges": merges}
        whole = {"version": "1.0", "added_tokens": [], "model": model}
        return json.loads(tokenizers.Tokenizer.from_str(json.dumps(whole)).to_str())["model"]["merges"]

    assert read(["#version: 0.2", "a b"]) == read([["a", "b"]]) == [["a", "b"]]
    assert read([["a", " b"]]) != read([["a ", "b"]])
    with pytest.raises(Exception, match="Merges text file invalid"):
        read(["a  b"])


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (["a b"], [["b", "a"]]),
        (["a b", "b a"], [["b", "a"], ["a", "b"]]),
        (["a b"], []),
        ([["a", " b"]], [["a ", "b"]]),
        (["a  b"], [["a", " b"]]),
        (["a b c"], [["a b", "c"]]),
        ([["#version", "b"]], []),
    ],
)
def test_other_merges_are_told_apart_also_where_parts_contain_spaces(
    tmp_path: Path, left: list[object], right: list[object]
) -> None:
    sides = checkpoint(tmp_path / "i", merging(*left)), checkpoint(tmp_path / "t", merging(*right))
    assert [problem.message for problem in tokenizer_problems(*sides)] == ["the BPE merges differ"]


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"])
def test_a_tokenizer_file_that_cannot_be_read_is_named_with_its_side(tmp_path: Path, name: str) -> None:
    left, right = checkpoint(tmp_path / "i"), checkpoint(tmp_path / "t")
    (right.root / name).write_text("{")
    with pytest.raises(InputRefused, match=rf"^t: {re.escape(name)} cannot be read: Expecting"):
        tokenizer_problems(left, right)


def test_a_unigram_vocabulary_is_compared_by_place(tmp_path: Path) -> None:
    def unigram(*pieces: str) -> dict[str, object]:
        return {"model": {"type": "Unigram", "vocab": [[piece, -1.0] for piece in pieces]}}

    left = checkpoint(tmp_path / "i", unigram("<unk>", "a", "b"))
    same = checkpoint(tmp_path / "s", {**unigram("<unk>", "a", "b"), "version": "1.1"})
    moved = checkpoint(tmp_path / "t", unigram("<unk>", "b", "a"))
    assert tokenizer_problems(left, same) == []
    (problem,) = tokenizer_problems(left, moved)
    assert problem.message.startswith("2 token id(s) differ: 'a' is 1 in instruct and 2 in thinking")


def test_a_tokenizer_of_an_unknown_layout_is_compared_by_what_it_has(tmp_path: Path) -> None:
    left = checkpoint(tmp_path / "i", {"model": {"vocab": "strange"}, "added_tokens": "none"})
    assert tokenizer_problems(left, checkpoint(tmp_path / "t", {"model": 7})) == []
    odd = {"model": {"vocab": ["a", [], ["b"]]}}
    (problem,) = tokenizer_problems(left, checkpoint(tmp_path / "o", odd))
    assert "3 token id(s) differ" in problem.message


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        ([1], r"t: tokenizer\.json is not a JSON object"),
        (
            {"added_tokens": [{"content": "<x>"}]},
            "t: tokenizer.json has an added token without an id: {'content': '<x>'}",
        ),
        ({"added_tokens": ["<x>"]}, "t: tokenizer.json has an added token without an id: '<x>'"),
    ],
)
def test_a_tokenizer_that_is_not_one_is_refused(tmp_path: Path, tokenizer: object, message: str) -> None:
    left, right = checkpoint(tmp_path / "i"), checkpoint(tmp_path / "t")
    write_json(right.root / "tokenizer.json", tokenizer)
    with pytest.raises(InputRefused, match=message) as refused:
        tokenizer_problems(left, right)
    assert [problem.code for problem in refused.value.problems] == ["json"]


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("vocab.json", "tokenizer.vocab"),
        ("merges.txt", "tokenizer.merges"),
        ("tokenizer.model", "tokenizer.tokenizer"),
        ("vocab.txt", "tokenizer.vocab"),
        ("tekken.json", "tokenizer.tekken"),
    ],
)
def test_without_a_fast_tokenizer_the_vocabulary_files_must_be_the_same_bytes(
    tmp_path: Path, name: str, field: str
) -> None:
    left = bare(tmp_path / "i", {name: "one"})
    assert tokenizer_problems(left, bare(tmp_path / "s", {name: "one"})) == []
    problems = tokenizer_problems(left, bare(tmp_path / "t", {name: "two"}))
    assert told(problems) == [("vocabulary", f"{name} differs", field)]


@pytest.mark.parametrize(
    ("instruct", "thinking", "name"),
    [
        ({"vocab.json": "{}"}, {}, "vocab.json"),
        ({}, {"tokenizer.model": "x"}, "tokenizer.model"),
        ({"tokenizer.json": "{}"}, {"vocab.json": "{}"}, "tokenizer.json"),
    ],
)
def test_vocabularies_that_cannot_be_compared_are_not_taken_for_equal(
    tmp_path: Path, instruct: dict[str, str], thinking: dict[str, str], name: str
) -> None:
    problems = tokenizer_problems(bare(tmp_path / "i", instruct), bare(tmp_path / "t", thinking))
    message = f"the vocabularies cannot be compared: {name} is on one side only"
    assert told(problems) == [("vocabulary", message, "tokenizer.vocabulary")]


def test_two_checkpoints_without_any_tokenizer_have_nothing_to_compare(tmp_path: Path) -> None:
    assert tokenizer_problems(bare(tmp_path / "i", {}), bare(tmp_path / "t", {})) == []


def test_a_special_token_of_another_content_is_named_with_its_role(tmp_path: Path) -> None:
    right = checkpoint(tmp_path / "t", tokenizer_config={"pad_token": "<pad>", "eos_token": "<eot>"})
    problems = tokenizer_problems(checkpoint(tmp_path / "i"), right)
    message = "eos_token is '<end>' in instruct and '<eot>' in thinking"
    assert told(problems) == [("special-token", message, "tokenizer.eos_token")]
    assert "--allow-config tokenizer.eos_token" in problems[0].hint


def test_a_special_token_that_one_side_lacks_is_absent_there(tmp_path: Path) -> None:
    left = checkpoint(tmp_path / "i", tokenizer_config={"eos_token": "<end>", "pad_token": "<pad>"})
    right = checkpoint(tmp_path / "t", tokenizer_config={"bos_token": "<a>", "eos_token": "<end>"})
    assert [problem.message for problem in tokenizer_problems(left, right)] == [
        "bos_token is absent in instruct and '<a>' in thinking",
        "pad_token is '<pad>' in instruct and absent in thinking",
    ]


def test_special_tokens_are_the_same_wherever_and_however_they_are_written(tmp_path: Path) -> None:
    left = checkpoint(tmp_path / "i", tokenizer_config={"eos_token": "<end>", "bos_token": None})
    objects = '{"eos_token": {"content": "<end>", "lstrip": false}, "pad_token": "<old>"}'
    right = checkpoint(
        tmp_path / "t",
        tokenizer_config={"add_bos_token": False, "model_max_length": 7},
        extra={"special_tokens_map.json": objects.replace(', "pad_token": "<old>"', "")},
    )
    assert tokenizer_problems(left, right) == []


def test_the_tokenizer_config_has_the_last_word_on_special_tokens(tmp_path: Path) -> None:
    right = checkpoint(tmp_path / "t", extra={"special_tokens_map.json": '{"eos_token": "<old>"}'})
    assert tokenizer_problems(checkpoint(tmp_path / "i"), right) == []


def test_a_special_tokens_file_that_is_no_object_says_nothing(tmp_path: Path) -> None:
    right = checkpoint(tmp_path / "t", extra={"special_tokens_map.json": "[]"})
    assert tokenizer_problems(checkpoint(tmp_path / "i"), right) == []


DIFFER = "the chat templates differ: each checkpoint takes its donor's"


@pytest.mark.parametrize(
    ("instruct", "thinking", "note"),
    [
        ({}, {}, None),
        ({"chat_template.jinja": "a"}, {"chat_template.jinja": "a"}, None),
        ({"chat_template.jinja": "a"}, {"chat_template.jinja": "b"}, DIFFER),
        ({"chat_template.jinja": "a"}, {}, DIFFER),
        ({"chat_template.jinja": "a"}, {"tokenizer_config.json": '{"chat_template": "a"}'}, None),
        ({"tokenizer_config.json": '{"chat_template": "a"}'}, {"tokenizer_config.json": "[]"}, DIFFER),
    ],
)
def test_chat_templates_that_differ_are_a_note(
    tmp_path: Path, instruct: dict[str, str], thinking: dict[str, str], note: str | None
) -> None:
    assert template_note(bare(tmp_path / "i", instruct), bare(tmp_path / "t", thinking)) == note


def test_a_template_that_is_not_unicode_is_compared_all_the_same(tmp_path: Path) -> None:
    left, right = checkpoint(tmp_path / "i"), checkpoint(tmp_path / "t")
    (left.root / "chat_template.jinja").write_bytes(b"\xff")
    assert template_note(left, right) == DIFFER
