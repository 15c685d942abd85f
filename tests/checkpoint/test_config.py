"""Which differences of config.json change the forward pass."""

import pytest

from dami_merge.checkpoint.config import FieldDifference, differences, with_dtype


def changed(instruct: dict[str, object], thinking: dict[str, object]) -> dict[str, bool]:
    """Field to neutral."""
    return {found.field: found.neutral for found in differences(instruct, thinking)}


def test_equal_configs_do_not_differ() -> None:
    config: dict[str, object] = {"hidden_size": 8, "layer_types": ["a", "b"], "text_config": {"x": 1}}
    assert differences(config, dict(config)) == []


def test_a_difference_carries_both_values() -> None:
    assert differences({"hidden_size": 8}, {"hidden_size": 16}) == [
        FieldDifference("hidden_size", 8, 16, neutral=False)
    ]


@pytest.mark.parametrize(
    ("field", "left", "right"),
    [
        ("rms_norm_eps", 1e-5, 1e-6),
        ("num_experts_per_tok", 8, 4),
        ("sliding_window", 4096, 1024),
        ("hidden_act", "silu", "gelu"),
        ("layer_types", ["full"], ["sliding"]),
        ("norm_topk_prob", True, False),
        ("a_field_of_tomorrow", 1, 2),
    ],
)
def test_a_field_that_is_not_known_to_be_harmless_counts(field: str, left: object, right: object) -> None:
    assert changed({field: left}, {field: right}) == {field: False}
    assert changed({field: left}, {}) == {field: False}
    assert changed({"text_config": {field: left}}, {"text_config": {field: right}}) == {
        f"text_config.{field}": False
    }


@pytest.mark.parametrize(
    "field",
    [
        "dtype",
        "transformers_version",
        "use_cache",
        "eos_token_id",
        "attention_dropout",
        "_name_or_path",
    ],
)
def test_a_neutral_field_is_neutral_at_any_depth(field: str) -> None:
    assert changed({field: 1}, {field: 2}) == {field: True}
    nested = changed({"text_config": {field: 1}}, {"text_config": {field: 2}})
    assert nested == {f"text_config.{field}": True}


def test_the_dtype_under_its_older_name_is_one_field() -> None:
    """transformers 4 wrote `torch_dtype`."""
    assert changed({"torch_dtype": "bfloat16"}, {"dtype": "bfloat16"}) == {}
    assert changed({"torch_dtype": "bfloat16"}, {"dtype": "float32"}) == {"dtype": True}
    assert changed({"torch_dtype": "bfloat16"}, {}) == {"dtype": True}
    nested = changed({"text_config": {"torch_dtype": "float16"}}, {"text_config": {"dtype": "float16"}})
    assert nested == {}


def test_of_both_names_of_the_dtype_the_newer_one_counts() -> None:
    both: dict[str, object] = {"torch_dtype": "float16", "dtype": "bfloat16"}
    assert changed(both, {"dtype": "bfloat16"}) == {}
    assert changed(both, {"dtype": "float16"}) == {"dtype": True}


def test_what_lies_below_a_neutral_field_is_neutral() -> None:
    assert changed({"id2label": {"0": "a"}}, {"id2label": {"0": "b"}}) == {"id2label.0": True}


def test_null_and_a_missing_field_are_the_same() -> None:
    assert (
        changed({"sliding_window": None, "rope_scaling": None, "rope_theta": 1.0}, {"rope_theta": 1.0}) == {}
    )


def test_quantisation_is_not_compared_here() -> None:
    assert (
        changed({"quantization_config": {"bits": 4}}, {"text_config": {"quantization_config": {"bits": 8}}})
        == {}
    )


ROPE_LAYOUTS: list[tuple[dict[str, object], dict[str, object]]] = [
    ({"rope_theta": 1e6}, {"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}),
    (
        {"rope_theta": 1e6, "rope_scaling": None},
        {"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}},
    ),
    ({"rope_theta": 1e6, "rope_parameters": None}, {"rope_theta": 1e6, "rope_scaling": {"type": "default"}}),
    (
        {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_theta": 5e5, "rope_scaling": {"rope_type": "linear", "type": "linear", "factor": 2.0}},
    ),
    (
        {
            "rope_theta": 5e5,
            "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
        },
        {
            "rope_parameters": {
                "rope_theta": 5e5,
                "rope_type": "yarn",
                "factor": 4.0,
                "original_max_position_embeddings": 32768,
            }
        },
    ),
    (
        {"rope_theta": 1e4, "partial_rotary_factor": 0.5},
        {"rope_parameters": {"rope_theta": 1e4, "rope_type": "default", "partial_rotary_factor": 0.5}},
    ),
]


@pytest.mark.parametrize(("older", "newer"), ROPE_LAYOUTS)
def test_the_older_and_the_newer_rope_layout_of_one_meaning_are_equal(
    older: dict[str, object], newer: dict[str, object]
) -> None:
    assert changed(older, newer) == changed(newer, older) == {}
    assert changed({"text_config": older}, {"text_config": newer}) == {}


@pytest.mark.parametrize(
    ("older", "newer", "fields"),
    [
        (
            {"rope_theta": 1e6},
            {"rope_parameters": {"rope_theta": 1e7, "rope_type": "default"}},
            {"rope_theta"},
        ),
        (
            {"rope_theta": 1e6, "rope_scaling": {"type": "linear", "factor": 2.0}},
            {"rope_parameters": {"rope_theta": 1e6, "rope_type": "linear", "factor": 4.0}},
            {"rope_scaling.factor"},
        ),
        (
            {"rope_theta": 1e6},
            {"rope_theta": 1e6, "rope_scaling": {"type": "yarn", "factor": 4.0}},
            {"rope_type", "rope_scaling.factor"},
        ),
        ({"rope_theta": 1e6, "rope_scaling": "linear"}, {"rope_theta": 1e6}, {"rope_scaling"}),
    ],
)
def test_rope_layouts_of_another_meaning_differ(
    older: dict[str, object], newer: dict[str, object], fields: set[str]
) -> None:
    assert changed(older, newer) == dict.fromkeys(fields, False)


def test_rope_parameters_of_each_kind_of_layer_are_compared_one_by_one() -> None:
    def layers(theta: float) -> dict[str, object]:
        return {
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": theta},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            }
        }

    assert changed(layers(1e6), layers(1e6)) == {}
    assert changed(layers(1e6), layers(5e6)) == {"rope_parameters.full_attention.rope_theta": False}


@pytest.mark.parametrize(
    ("rope", "neutral"),
    [
        ({}, True),
        ({"rope_theta": 1e6}, True),
        ({"rope_theta": 1e6, "rope_scaling": {"type": "linear", "factor": 2.0}}, True),
        ({"rope_theta": 1e6, "rope_scaling": {"rope_type": "llama3"}}, True),
        ({"rope_theta": 1e6, "rope_scaling": {"rope_type": "yarn"}}, False),
        ({"rope_theta": 1e6, "rope_scaling": {"type": "dynamic"}}, False),
        ({"rope_theta": 1e6, "rope_scaling": {"type": "su"}}, False),
        ({"rope_parameters": {"rope_theta": 1e6, "rope_type": "longrope"}}, False),
        ({"rope_parameters": {"full": {"rope_theta": 1e6, "rope_type": "yarn"}}}, False),
        ({"rope_theta": 1e6, "rope_scaling": {"rope_type": ["yarn"]}}, True),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_the_context_length_is_neutral_unless_the_angles_depend_on_it(
    rope: dict[str, object], neutral: bool, nested: bool
) -> None:
    sides: list[dict[str, object]] = [{**rope, "max_position_embeddings": length} for length in (4096, 8192)]
    field = "max_position_embeddings"
    if nested:
        sides, field = [{"text_config": side} for side in sides], f"text_config.{field}"
    assert changed(*sides) == {field: neutral}


def test_the_rope_of_one_part_does_not_make_the_length_of_another_part_count() -> None:
    vision = {"max_position_embeddings": 1, "rope_theta": 1.0}
    text = {"rope_theta": 1.0, "rope_scaling": {"type": "yarn"}}
    left: dict[str, object] = {"vision_config": vision, "text_config": text}
    right: dict[str, object] = {
        "vision_config": {**vision, "max_position_embeddings": 2},
        "text_config": text,
    }
    assert changed(left, right) == {"vision_config.max_position_embeddings": True}


def test_the_written_dtype_goes_into_every_field_that_states_one() -> None:
    config = {"torch_dtype": "float16", "hidden_size": 8, "text_config": {"dtype": "float32", "a": [1]}}
    assert with_dtype(config, "bfloat16") == {
        "torch_dtype": "bfloat16",
        "hidden_size": 8,
        "text_config": {"dtype": "bfloat16", "a": [1]},
    }
    assert config["torch_dtype"] == "float16"
    assert with_dtype({"dtype": None}, "bfloat16") == {"dtype": None}
