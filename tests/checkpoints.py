"""Real, tiny checkpoints on disk for tests, written with the safetensors library, not with ours."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

CONFIG: Mapping[str, object] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 12,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "dtype": "bfloat16",
}

TOKENIZER: Mapping[str, object] = {
    "version": "1.0",
    "added_tokens": [
        {"id": 0, "content": "<pad>", "special": True},
        {"id": 1, "content": "<end>", "special": True},
    ],
    "model": {"type": "BPE", "vocab": {"<pad>": 0, "<end>": 1, "a": 2, "b": 3}, "merges": []},
}

TOKENIZER_CONFIG: Mapping[str, object] = {"pad_token": "<pad>", "eos_token": "<end>"}


def random_tensors(seed: int, dtype: torch.dtype = torch.bfloat16) -> dict[str, Tensor]:
    """Weights of a two-layer toy, in the layout of `CONFIG`; equal seeds give equal weights."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return (torch.randn(*shape, generator=generator, dtype=torch.float64) * 0.1).to(dtype)

    tensors = {"model.embed_tokens.weight": normal(12, 8), "model.norm.weight": 1 + normal(8)}
    for layer in range(2):
        prefix = f"model.layers.{layer}"
        tensors[f"{prefix}.self_attn.q_proj.weight"] = normal(8, 8)
        tensors[f"{prefix}.mlp.up_proj.weight"] = normal(16, 8)
        tensors[f"{prefix}.input_layernorm.weight"] = 1 + normal(8)
    tensors["lm_head.weight"] = normal(12, 8)
    return tensors


def near(tensors: Mapping[str, Tensor], seed: int = 1, noise: float = 0.01) -> dict[str, Tensor]:
    """A neighbour of a checkpoint, as a short fine-tune would give: same names, shapes and dtypes."""
    generator = torch.Generator().manual_seed(seed)
    moved = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            step = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * noise
            moved[name] = (tensor.to(torch.float64) + step).to(tensor.dtype)
        else:
            moved[name] = tensor.clone()
    return moved


def write_checkpoint(
    folder: Path,
    tensors: Mapping[str, Tensor],
    *,
    shards: Sequence[Sequence[str]] = (),
    config: Mapping[str, object] = CONFIG,
    tokenizer: Mapping[str, object] = TOKENIZER,
    tokenizer_config: Mapping[str, object] = TOKENIZER_CONFIG,
    extra: Mapping[str, str] = {},
) -> Path:
    """Write a model folder.

    Args:
        folder: Is created.
        tensors: By name.
        shards: Tensor names of each shard, for a sharded checkpoint; a single file if empty.
        config: config.json.
        tokenizer: tokenizer.json.
        tokenizer_config: tokenizer_config.json.
        extra: Further text files by name.
    """
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config)
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json", tokenizer_config)
    for name, text in extra.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    if not shards:
        save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    weight_map = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file({name: tensors[name] for name in names}, folder / file, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(names, file))
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    return folder


def write_json(path: Path, value: object) -> None:
    """Write a JSON file as the field writes them."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
