"""Names of tensors to layers and kinds of modules."""

import pytest

from dami_merge.connectivity.naming import is_matrix, layer_and_module, natural_key


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
        ((8, 1, 4), True),
        ((0, 4), False),
    ],
)
def test_a_matrix_has_two_dimensions_above_one(shape: tuple[int, ...], expected: bool) -> None:
    assert is_matrix(shape) is expected


def test_layer_ten_comes_after_layer_nine() -> None:
    names = ["layers.10.a", "layers.9.b", "layers.9.a", "embed"]
    assert sorted(names, key=natural_key) == ["embed", "layers.9.a", "layers.9.b", "layers.10.a"]
