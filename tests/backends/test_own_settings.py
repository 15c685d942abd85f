"""What a generation config says of sampling, and where a sweep differs from it."""

import json
from pathlib import Path

import pytest

from dami_merge.backends.own_settings import own_settings, settings_notes
from dami_merge.sampling import SamplingSettings

SETTINGS = SamplingSettings(temperature=0.6, top_p=0.95, top_k=20, max_tokens=100)


def test_only_fields_of_sampling_are_read_and_no_file_says_nothing(tmp_path: Path) -> None:
    assert own_settings(tmp_path) == {}
    said = {"top_p": 0.8, "do_sample": True, "eos_token_id": 3, "transformers_version": "5"}
    (tmp_path / "generation_config.json").write_text(json.dumps(said))
    assert own_settings(tmp_path) == {"do_sample": True, "top_p": 0.8}


def test_what_agrees_is_neutral_or_left_open_needs_no_note() -> None:
    own = {"temperature": 0.6, "top_k": 20, "top_p": None, "repetition_penalty": 1, "do_sample": True}
    assert settings_notes(own, SETTINGS) == ()


@pytest.mark.parametrize(
    ("own", "note"),
    [
        ({"temperature": 0.7, "top_p": 0.8}, "says temperature 0.7, top_p 0.8; 0.6 and 0.95 are used"),
        ({"max_new_tokens": 96}, "says max_new_tokens 96; 100 is used"),
        ({"do_sample": False}, "says greedy; temperature 0.6 is used"),
        ({"repetition_penalty": 1.05}, "says repetition_penalty 1.05, which is not used"),
        ({"num_beams": 4, "min_p": 0.1}, "says min_p 0.1, num_beams 4, which are not used"),
    ],
)
def test_what_differs_is_said_with_both_values(own: dict[str, object], note: str) -> None:
    assert settings_notes(own, SETTINGS) == (f"the model's generation_config {note}",)


def test_greedy_answers_depend_on_neither_top_p_nor_top_k() -> None:
    own = {"temperature": 0.7, "top_p": 0.8, "top_k": 5, "do_sample": False}
    greedy = SamplingSettings(temperature=0)
    assert settings_notes(own, greedy) == ("the model's generation_config says temperature 0.7; 0 is used",)
