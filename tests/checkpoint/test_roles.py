"""Sides that look swapped are noted; nothing else is."""

from pathlib import Path

import pytest

from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING
from dami_merge.checkpoint.folder import Checkpoint, open_folder
from dami_merge.checkpoint.pair import join
from dami_merge.checkpoint.roles import swapped_note
from dami_merge.checkpoint.source import open_both
from tests.checkpoints import near, random_tensors, write_checkpoint

PLAIN = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
HYBRID = (
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
OPENS = (
    "{{ m.content.split('</think>')[-1] }}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"
)
HISTORY = (
    "{% if add_generation_prompt is defined %}{% endif %}{{ '<think>' + m.thoughts }}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def side(root: Path, name: str, template: str = PLAIN) -> Checkpoint:
    folder = write_checkpoint(
        root / name.replace("/", "_"), near(random_tensors(seed=0)), extra={"chat_template.jinja": template}
    )
    return open_folder(folder, spec=name, source_id=name)


@pytest.mark.parametrize(
    ("left", "right", "why"),
    [
        ("Qwen/Qwen3-4B-Thinking-2507", "Qwen/Qwen3-4B-Instruct-2507", "its name says so"),
        ("allenai/Olmo-3-7B-Think", "allenai/Olmo-3-7B-Instruct", "its name says so"),
        ("m/Ministral-3-8B-Reasoning-2512", "m/Ministral-3-8B-Instruct-2512", "its name says so"),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek-ai/DeepSeek-V3-0324", "its name says so"),
        ("toy_thinking", "toy-instruct", "its name says so"),
        ("org/mine", "org/mine-Instruct", "the name of the other side says so"),
        ("m/x-Thinking", "m/x-Non-Thinking", "its name says so"),
    ],
)
def test_swapped_names_are_noted_in_one_order_only(left: str, right: str, why: str, tmp_path: Path) -> None:
    first, second = side(tmp_path, left), side(tmp_path, right)
    assert swapped_note(first, second) == (
        f"warning: the sides look swapped: {left} is given as Instruct (λ = 0) but looks like"
        f" the Thinking model ({why}); if so, give {right} first"
    )
    assert swapped_note(second, first) is None


def test_without_a_word_in_the_names_the_templates_speak(tmp_path: Path) -> None:
    first, second = side(tmp_path, "a", OPENS), side(tmp_path, "b", PLAIN)
    note = swapped_note(first, second)
    assert note is not None
    assert "(only its chat template begins an answer inside <think>); if so, give b first" in note
    assert swapped_note(second, first) is None


@pytest.mark.parametrize("template", [PLAIN, HYBRID, HISTORY, ""])
def test_a_template_that_opens_no_thinking_says_nothing(template: str, tmp_path: Path) -> None:
    first, second = side(tmp_path, "a", template), side(tmp_path, "b", PLAIN)
    assert swapped_note(first, second) is swapped_note(second, first) is None


@pytest.mark.parametrize(
    ("left", "right"),
    [("a-Instruct", "a-Thinking"), ("a-Instruct-Thinking", "a"), ("a", "b"), ("rethink", "b")],
)
def test_names_in_order_or_without_a_clear_word_are_not_noted(left: str, right: str, tmp_path: Path) -> None:
    assert swapped_note(side(tmp_path, left), side(tmp_path, right)) is None


def test_names_in_order_outweigh_the_templates(tmp_path: Path) -> None:
    assert swapped_note(side(tmp_path, "a-Instruct", OPENS), side(tmp_path, "a-Thinking", PLAIN)) is None


def test_the_bundled_pair_is_in_order_and_its_reverse_is_joined_with_a_warning() -> None:
    instruct, thinking = open_both(BUNDLED_INSTRUCT, BUNDLED_THINKING)
    assert join(instruct, thinking).notes == ()
    (note,) = join(thinking, instruct).notes
    assert note.startswith("warning: the sides look swapped: dami-merge/tiny-thinking is given as Instruct")
