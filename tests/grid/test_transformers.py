"""Every checkpoint of a grid opens in transformers as its parents do, and holds what was interpolated."""

import logging
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)

from dami_merge.grid.build import build_grid
from dami_merge.lambdas import folder_name
from tests.grid.grids import expected, plan_of, raw

LAMBDAS = (Fraction(0), Fraction(1, 2), Fraction(7, 10), Fraction(1))

DENSE = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64,
}  # fmt: skip
EXPERTS = {"moe_intermediate_size": 8, "num_experts": 4, "num_experts_per_tok": 2}
ROPE = {"rope_scaling": {"rope_type": "default", "mrope_section": [2, 1, 1], "mrope_interleaved": True}}
VISION = {
    "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 16,
    "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2, "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0],
}  # fmt: skip


def dense_tied() -> PreTrainedModel:
    return Qwen3ForCausalLM(Qwen3Config.from_dict({**DENSE, "tie_word_embeddings": True}))


def mixture() -> PreTrainedModel:
    return Qwen3MoeForCausalLM(Qwen3MoeConfig.from_dict({**DENSE, **EXPERTS}))


def vision() -> PreTrainedModel:
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=DENSE | ROPE, vision_config=VISION))


def vision_mixture() -> PreTrainedModel:
    config = Qwen3VLMoeConfig(text_config=DENSE | ROPE | EXPERTS, vision_config=VISION)
    return Qwen3VLMoeForConditionalGeneration(config)


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What transformers logs from WARNING on."""
    messages: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def saved_pair(make: Callable[[], PreTrainedModel], folder: Path) -> tuple[Path, Path]:
    """A model and a neighbour of it, saved by transformers in shards of different sizes."""
    torch.manual_seed(0)
    model = make().bfloat16()
    model.save_pretrained(folder / "toy-instruct", max_shard_size="9KB")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    model.save_pretrained(folder / "toy-thinking", max_shard_size="30KB")
    return folder / "toy-instruct", folder / "toy-thinking"


def loaded(folder: Path) -> dict[str, Tensor]:
    sees = "vision_config" in (folder / "config.json").read_text()
    kind = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    answer: Any = kind.from_pretrained(folder, dtype="auto", output_loading_info=True)
    model, info = answer
    assert {key: found for key, found in info.items() if found} == {}
    assert model.dtype == torch.bfloat16
    state: dict[str, Tensor] = model.state_dict()
    return state


@pytest.mark.parametrize("make", [dense_tied, mixture, vision, vision_mixture])
def test_merged_checkpoints_load_whole_silently_and_equal_to_the_interpolated_state(
    make: Callable[[], PreTrainedModel], tmp_path: Path, complaints: list[str], device: str
) -> None:
    folders = saved_pair(make, tmp_path)
    assert len(list(folders[0].glob("*.safetensors"))) > len(list(folders[1].glob("*.safetensors")))
    built = build_grid(plan_of(folders, tmp_path / "grid", lambdas=LAMBDAS), device=device)
    assert built.grid.name == "toy"
    instruct, thinking = loaded(folders[0]), loaded(folders[1])
    assert any(not torch.equal(instruct[name], thinking[name]) for name in instruct)
    for lam in LAMBDAS:
        found = loaded(tmp_path / "grid" / folder_name(lam))
        assert found.keys() == instruct.keys()
        for name, tensor in found.items():
            want = expected(instruct[name], thinking[name], lam, torch.bfloat16)
            assert raw(tensor) == raw(want), f"{name} at λ={lam}"
    assert complaints == []


def test_a_grid_in_another_dtype_loads_in_that_dtype(tmp_path: Path, complaints: list[str]) -> None:
    folders = saved_pair(vision, tmp_path)
    build_grid(plan_of(folders, tmp_path / "grid", lambdas=LAMBDAS[:2], dtype="float32"))
    folder = tmp_path / "grid" / "lambda-0.50"
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype="auto")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert complaints == []
