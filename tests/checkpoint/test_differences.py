"""How the small files of a pair differ, as a person reads it."""

import json
from pathlib import Path
from typing import Any

import pytest

from dami_merge.checkpoint.consequences import consequence
from dami_merge.checkpoint.differences import ConfigDifference, PairDifferences, pair_differences
from dami_merge.checkpoint.source import open_both
from dami_merge.errors import InputRefused
from tests.checkpoints import CONFIG, TOKENIZER, near, random_tensors, write_checkpoint


def _differences(tmp_path: Path, left: dict[str, Any], right: dict[str, Any]) -> PairDifferences:
    tensors = random_tensors(seed=0)
    write_checkpoint(tmp_path / "a", tensors, **left)
    write_checkpoint(tmp_path / "b", near(tensors), **right)
    return pair_differences(*open_both(str(tmp_path / "a"), str(tmp_path / "b")))


def test_equal_files_differ_in_nothing(tmp_path: Path) -> None:
    assert _differences(tmp_path, {}, {}) == PairDifferences((), (), (), ())


@pytest.mark.parametrize(
    ("field", "value", "neutral", "words"),
    [
        ("rope_theta", 5e6, False, "attention looks at different positions"),
        ("num_attention_heads", 4, False, "split into different heads"),
        ("tie_word_embeddings", True, False, "its own output layer"),
        ("max_position_embeddings", 99, True, "the donor's context length"),
        ("eos_token_id", 7, True, "stops at the donor's tokens"),
        ("initializer_range", 0.5, True, "the forward pass does not depend on it"),
        ("new_field_of_tomorrow", [1], False, "assumed to change the forward pass"),
    ],
)
def test_a_config_field_is_told_with_its_consequence(
    tmp_path: Path, field: str, value: object, neutral: bool, words: str
) -> None:
    (found,) = _differences(tmp_path, {}, {"config": {**CONFIG, field: value}}).config
    before = json.dumps(CONFIG[field]) if field in CONFIG else "absent"
    assert (found.field, found.instruct, found.thinking) == (field, before, json.dumps(value))
    assert found.neutral is neutral
    assert words in found.consequence


def test_a_nested_field_is_explained_by_its_most_telling_part(tmp_path: Path) -> None:
    config = {**CONFIG, "text_config": {"rope_theta": 3.0}}
    (found,) = _differences(tmp_path, {}, {"config": config}).config[:1]
    assert found.field.startswith("text_config.")
    assert "attention looks at different positions" in found.consequence


def test_sampling_defaults_of_both_sides_stand_side_by_side(tmp_path: Path) -> None:
    left = {"generation_config.json": '{"temperature": 0.7, "top_p": 0.8, "transformers_version": "4.57"}'}
    right = {"generation_config.json": '{"temperature": 0.6, "top_p": 0.8, "transformers_version": "5.0"}'}
    found = _differences(tmp_path, {"extra": left}, {"extra": right}).generation
    assert [(each.field, each.instruct, each.thinking) for each in found] == [("temperature", "0.7", "0.6")]
    assert isinstance(found[0], ConfigDifference)
    assert found[0].neutral


def test_chat_templates_are_a_diff_that_breaks_long_lines_between_statements(tmp_path: Path) -> None:
    start = "{% for m in messages %}{{ m.content }}{% endfor %}"
    left = {"chat_template.jinja": start + "{% if add_generation_prompt %}A{% endif %}"}
    right = {"chat_template.jinja": start + "{% if add_generation_prompt %}A<think>{% endif %}"}
    found = _differences(tmp_path, {"extra": left}, {"extra": right})
    assert found.template[:2] == ("--- instruct's chat template", "+++ thinking's chat template")
    assert [line for line in found.template[2:] if line[0] in "+-"] == [
        "-{% if add_generation_prompt %}A{% endif %}",
        "+{% if add_generation_prompt %}A<think>{% endif %}",
    ]
    assert found.template_lines == (1, 1)


def test_a_template_of_the_tokenizer_config_counts_and_several_are_shown_as_json(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "x"}, {"name": "tools", "template": "y"}]
    found = _differences(
        tmp_path,
        {"tokenizer_config": {"chat_template": "x"}},
        {"tokenizer_config": {"chat_template": named}},
    )
    assert "-x" in found.template
    assert any('"template": "y"' in line for line in found.template)


def test_tokens_that_moved_are_a_sentence(tmp_path: Path) -> None:
    model = {"type": "BPE", "vocab": {"<pad>": 0, "<end>": 1, "b": 2, "a": 3}, "merges": []}
    (sentence,) = _differences(tmp_path, {}, {"tokenizer": {**TOKENIZER, "model": model}}).tokenizer
    assert "2 tokens differ: 'a' is 2 in instruct and 3 in thinking" in sentence


@pytest.mark.parametrize("other", ["{% if a %}\n{% endif %}", "{% if a %}{% endif %}\n"])
def test_templates_that_differ_in_line_breaks_only_are_not_called_equal(tmp_path: Path, other: str) -> None:
    left = {"chat_template.jinja": "{% if a %}{% endif %}"}
    found = _differences(tmp_path, {"extra": left}, {"extra": {"chat_template.jinja": other}})
    assert found.template[2:] == ("@@ they differ in line breaks only @@",)
    assert found.template_lines == (0, 0)


def test_a_template_on_one_side_only_is_added_whole(tmp_path: Path) -> None:
    found = _differences(tmp_path, {}, {"extra": {"chat_template.jinja": "one\ntwo\n"}})
    assert found.template_lines == (2, 0)
    assert found.template[-2:] == ("+one", "+two")


def test_sampling_that_one_side_lacks_is_absent_there(tmp_path: Path) -> None:
    file = {"generation_config.json": '{"top_k": 20, "é": "ü", "nothing": null}'}
    found = _differences(tmp_path, {"extra": file}, {}).generation
    assert [(each.field, each.instruct, each.thinking) for each in found] == [
        ("top_k", "20", "absent"),
        ("é", '"ü"', "absent"),
    ]


def test_sampling_defaults_that_are_no_object_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"b: generation_config\.json is not a JSON object"):
        _differences(tmp_path, {}, {"extra": {"generation_config.json": "[1]"}})


def test_of_two_known_parts_of_a_field_the_inner_one_explains_it() -> None:
    assert "angles of queries and keys differ" in consequence("rope_parameters.rope_theta", neutral=False)
    assert "scaled differently" in consequence("rope_parameters.factor", neutral=False)
