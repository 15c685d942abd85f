"""Names of tensors to layers and kinds of modules."""

import pytest

from dami_merge.connectivity.naming import (
    experts_within,
    is_matrix,
    layer_and_module,
    natural_key,
    short_names,
    stack_of,
)


@pytest.mark.parametrize(
    ("name", "layer", "module"),
    [
        ("model.layers.3.self_attn.q_proj.weight", "model.layers.3", "self_attn.q_proj"),
        ("model.layers.3.self_attn.q_proj.bias", "model.layers.3", "self_attn.q_proj.bias"),
        ("model.layers.12.mlp.experts.7.up_proj.weight", "model.layers.12", "mlp.experts.*.up_proj"),
        ("model.visual.blocks.0.attn.qkv.weight", "model.visual.blocks.0", "attn.qkv"),
        ("transformer.h.1.ln_1.weight", "transformer.h.1", "ln_1"),
        ("0.weight", "0", "0"),
        ("1.0.weight", "1", "*"),
        ("lm_head.weight", "lm_head", "lm_head"),
        ("model.layers.2.conv1d.weight", "model.layers.2", "conv1d"),
        ("odd name", "odd name", "odd name"),
        ("language_model.model.layers.7.mlp.up_proj.weight", "language_model.model.layers.7", "mlp.up_proj"),
        (
            "vision_tower.vision_model.encoder.layers.7.mlp.fc1.bias",
            "vision_tower.vision_model.encoder.layers.7",
            "mlp.fc1.bias",
        ),
        (
            "multi_modal_projector.mm_input_projection_weight",
            "multi_modal_projector.mm_input_projection_weight",
            "multi_modal_projector.mm_input_projection_weight",
        ),
        ("backbone.layers.3.mixer.in_proj.weight", "backbone.layers.3", "mixer.in_proj"),
        ("backbone.layers.3.mixer.experts.5.up_proj.weight", "backbone.layers.3", "mixer.experts.*.up_proj"),
    ],
)
def test_a_name_gives_its_layer_and_module(name: str, layer: str, module: str) -> None:
    assert layer_and_module(name) == (layer, module)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((), False),
        ((8,), False),
        ((8, 1), False),
        ((1, 8), False),
        ((8, 8), True),
        ((8, 3, 4), True),
        ((8, 1, 4), False),
        ((8, 1, 4, 4), True),
        ((0, 4), False),
    ],
)
def test_a_matrix_has_two_dimensions_above_one_and_mixes_channels(
    shape: tuple[int, ...], expected: bool
) -> None:
    assert is_matrix("model.layers.0.conv1d.weight", shape) is expected


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.mlp.experts.gate_up_proj_bias",
        "layers.0.q_proj.bias",
        "0.relative_attention_bias.weight",
    ],
)
def test_biases_are_no_matrices_whatever_their_shape(name: str) -> None:
    assert not is_matrix(name, (128, 64))


@pytest.mark.parametrize(
    ("name", "shape", "experts"),
    [
        ("model.layers.0.mlp.experts.gate_up_proj", (128, 64, 32), 128),
        ("model.layers.0.block_sparse_moe.input_linear.weight", (8, 64, 32), 8),
        ("model.layers.0.feed_forward.experts.down_proj", (1, 64, 32), 1),
        ("model.layers.0.mlp.experts.gate_up_proj_bias", (128, 64), 0),
        ("model.layers.0.mlp.experts.3.up_proj.weight", (64, 32), 0),
        ("model.layers.0.mlp.experts.scale", (128, 64, 1), 0),
        ("model.layers.0.mlp.experts.none", (0, 64, 32), 0),
        ("audio.conv1.weight", (384, 80, 3), 0),
    ],
)
def test_a_tensor_of_three_dimensions_holds_experts_if_its_name_says_so(
    name: str, shape: tuple[int, ...], experts: int
) -> None:
    assert experts_within(name, shape) == experts


@pytest.mark.parametrize(
    ("layer", "stack"),
    [
        ("model.visual.blocks.3", "model.visual.blocks"),
        ("backbone.layers.12", "backbone.layers"),
        ("7", ""),
        ("lm_head", None),
        ("model.layer3", None),
    ],
)
def test_a_layer_belongs_to_a_stack_and_what_has_no_number_to_none(layer: str, stack: str | None) -> None:
    assert stack_of(layer) == stack


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["a.up", "b.down"], ["up", "down"]),
        (["x.model.layers.0", "y.encoder.layers.0"], ["model.layers.0", "encoder.layers.0"]),
        (["0", "0.1"], ["0", "0.1"]),
        (["3.a", "4.a"], ["3.a", "4.a"]),
        ([], []),
    ],
)
def test_names_are_shortened_as_far_as_they_still_differ(names: list[str], short: list[str]) -> None:
    assert list(short_names(names).values()) == short


@pytest.mark.parametrize("part", ["²", "9" * 5000])
def test_parts_that_only_look_like_numbers_are_sorted_as_words(part: str) -> None:
    assert natural_key(f"layers.{part}")[-1] == (1, 0, part)


def test_layer_ten_comes_after_layer_nine() -> None:
    names = ["layers.10.a", "layers.9.b", "layers.9.a", "embed"]
    assert sorted(names, key=natural_key) == ["embed", "layers.9.a", "layers.9.b", "layers.10.a"]
