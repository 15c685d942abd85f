"""A donor's tokenizer, template and end tokens, and what is missing in a folder."""

import dataclasses
import json
import re
import shutil
import time
from pathlib import Path

import pytest

from dami_merge.backends.dialogue import Decoded, Dialogue
from dami_merge.bundled import BUNDLED_THINKING
from dami_merge.checkpoint.source import open_source
from dami_merge.errors import InputRefused
from dami_merge.evaluation.questions.question import Message
from tests.tiny import questions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundled Thinking folder."""
    copy = tmp_path / "thinking"
    shutil.copytree(open_source(BUNDLED_THINKING).root, copy)
    return copy


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_prompt_ends_with_the_start_of_the_answer(folder: Path) -> None:
    (question,) = questions(1)
    prompt = Dialogue(folder, spec="tiny").prompts([question, question])[question]
    assert prompt.ids[:1] + prompt.ids[-1:] == (1, 2)  # <|user|> … <|assistant|>
    assert len(prompt.ids) == len(question.messages[0].content) + 2
    assert not prompt.prefilled


def test_a_rendered_prompt_gets_no_special_tokens_on_top(folder: Path) -> None:
    start = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<unk>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<unk>": {"id": "<unk>", "ids": [4], "tokens": ["<unk>"]}},
    }
    edit(folder / "tokenizer.json", post_processor=start)
    (question,) = questions(1)
    assert Dialogue(folder, spec="tiny").prompts([question])[question].ids[0] == 1


def test_padding_after_the_end_is_no_part_of_an_answer_and_special_tokens_within_are(folder: Path) -> None:
    dialogue = Dialogue(folder, spec="tiny")
    assert dialogue.answer([5, 7, 6, 8, 3, 0, 0]) == Decoded("<think>0</think>1", 5, "stop")
    assert dialogue.answer([7, 0, 1, 8]) == Decoded("0<pad><|user|>1", 4, "length")
    assert dialogue.answer([3, 0]) == Decoded("", 1, "stop")


@pytest.mark.parametrize("at", ["generation_config.json", "config.json"])
def test_end_tokens_are_those_of_the_first_file_that_names_any(folder: Path, at: str) -> None:
    if at == "config.json":
        (folder / "generation_config.json").unlink()
    edit(folder / at, eos_token_id=[9, 4])
    assert Dialogue(folder, spec="tiny").end_ids == (9, 4)


def test_a_nested_text_config_and_the_tokenizer_name_end_tokens_too(folder: Path) -> None:
    (folder / "generation_config.json").unlink()
    edit(folder / "config.json", eos_token_id=None, text_config={"eos_token_id": 8})
    assert Dialogue(folder, spec="tiny").end_ids == (8,)
    edit(folder / "config.json", text_config={})
    assert Dialogue(folder, spec="tiny").end_ids == (3,)


def test_without_a_pad_token_a_batch_is_filled_with_an_end_token(folder: Path) -> None:
    assert Dialogue(folder, spec="tiny").pad_id == 0
    edit(folder / "tokenizer_config.json", pad_token=None)
    assert Dialogue(folder, spec="tiny").pad_id == 3


def test_no_end_token_no_template_and_no_tokenizer_are_refused(folder: Path) -> None:
    edit(folder / "config.json", eos_token_id=None)
    edit(folder / "tokenizer_config.json", eos_token=None)
    edit(folder / "generation_config.json", eos_token_id=None)
    with pytest.raises(InputRefused, match="tiny does not define an end token"):
        Dialogue(folder, spec="tiny")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(InputRefused, match="tiny has no chat template"):
        Dialogue(folder, spec="tiny")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(InputRefused, match="cannot load the tokenizer of tiny"):
        Dialogue(folder, spec="tiny")


def test_a_generation_config_that_is_no_object_is_refused(folder: Path) -> None:
    (folder / "generation_config.json").write_text("[]")
    with pytest.raises(InputRefused, match=r"generation_config\.json is not a JSON object"):
        Dialogue(folder, spec="tiny")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (
            "{% for i in range(10**12) %}a{% endfor %}",
            "is rejected by the chat template of tiny: Range too big",
        ),
        ("{% include 'x' %}", "is rejected by the chat template of tiny: no loader"),
        ("{% import 'x' as x %}", "is rejected by the chat template of tiny: no loader"),
        ("{{ ''.__class__.__mro__ }}", "is rejected by the chat template of tiny: access to attribute"),
        (
            "{{ messages[0]['content'] + 1 }}",
            "is rejected by the chat template of tiny: can only concatenate",
        ),
        ("{{ 'a' * 10**10 }}", "the chat template of tiny needs more than 1 GiB of memory for question"),
        ("{{ '\ud83d' }}", "holds a lone surrogate"),
    ],
)
def test_a_template_that_does_harm_is_refused_with_its_side(folder: Path, template: str, words: str) -> None:
    edit(folder / "tokenizer_config.json", chat_template=template)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(InputRefused, match=re.escape(words)):
        Dialogue(folder, spec="tiny").prompts(questions(1))


@pytest.mark.slow
def test_a_template_that_loops_is_stopped(folder: Path) -> None:
    loops = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    (folder / "chat_template.jinja").write_text(loops, encoding="utf-8")
    with pytest.raises(InputRefused, match="of tiny does not end within 5 s of computation for question"):
        Dialogue(folder, spec="tiny").prompts(questions(1))


def test_a_prompt_beyond_the_context_is_refused_before_all_of_it_is_encoded(folder: Path) -> None:
    (question,) = questions(1)
    endless = dataclasses.replace(question, messages=(Message("user", "12 + 34 " * 500_000),))
    began_s = time.process_time()
    with pytest.raises(InputRefused, match=r"4,000,0\d\d characters do not fit in a context of 512 tokens"):
        Dialogue(folder, spec="tiny").prompts([endless])
    assert time.process_time() - began_s < 5


def test_a_long_prompt_that_fits_is_encoded_whole(folder: Path) -> None:
    edit(folder / "config.json", max_position_embeddings=10**6)
    (question,) = questions(1)
    text = "12 + 34 " * 40_000
    long = dataclasses.replace(question, messages=(Message("user", text),))
    assert len(Dialogue(folder, spec="tiny").prompts([long])[long].ids) == len(text) + 2


@pytest.mark.parametrize("wrong", ["x", [4, "x"], 1.5, True, {"a": 1}])
def test_end_tokens_that_are_no_ids_are_refused(folder: Path, wrong: object) -> None:
    edit(folder / "generation_config.json", eos_token_id=wrong)
    with pytest.raises(InputRefused, match="as eos_token_id, which is not a token id"):
        Dialogue(folder, spec="tiny")
