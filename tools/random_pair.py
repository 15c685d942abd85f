"""Write a random Qwen3-shaped bfloat16 pair of a given size, for benchmarks and endurance tests.

    python tools/random_pair.py OUT --gigabytes 2 --shards 2

The shapes and the config are real, the weights random: the Thinking side is the Instruct side plus noise,
with one shard more. At most one shard is in memory. `--layout small` instead has 50,000 tensors of equal
shape, like a mixture of tiny experts, and `--layout large` a single tensor, like a huge embedding; no library
can load these two.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import click
import torch
from safetensors.torch import save_file

HIDDEN = 1024
FEED_FORWARD = 3072
VOCABULARY = 32_000
HEADS, HEAD_DIM, KV_HEADS = 16, 64, 8


def layer_shapes(layer: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of one decoder layer."""
    prefix = f"model.layers.{layer}"
    queries, keys = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    yield f"{prefix}.input_layernorm.weight", (HIDDEN,)
    yield f"{prefix}.mlp.down_proj.weight", (HIDDEN, FEED_FORWARD)
    yield f"{prefix}.mlp.gate_proj.weight", (FEED_FORWARD, HIDDEN)
    yield f"{prefix}.mlp.up_proj.weight", (FEED_FORWARD, HIDDEN)
    yield f"{prefix}.post_attention_layernorm.weight", (HIDDEN,)
    yield f"{prefix}.self_attn.k_norm.weight", (HEAD_DIM,)
    yield f"{prefix}.self_attn.k_proj.weight", (keys, HIDDEN)
    yield f"{prefix}.self_attn.o_proj.weight", (HIDDEN, queries)
    yield f"{prefix}.self_attn.q_norm.weight", (HEAD_DIM,)
    yield f"{prefix}.self_attn.q_proj.weight", (queries, HIDDEN)
    yield f"{prefix}.self_attn.v_proj.weight", (keys, HIDDEN)


Shapes = list[tuple[str, tuple[int, ...]]]
SMALL = 50_000


def shapes_of(layout: str, gigabytes: float) -> tuple[int, Shapes]:
    """Decoder layers for the config, and names and shapes of all tensors."""
    columns = round(gigabytes * 1e9 / 2 / HIDDEN)
    if layout == "small":
        return 1, [
            (f"model.layers.{n // 1000}.mlp.experts.{n % 1000}.w", (32, columns * HIDDEN // SMALL // 32))
            for n in range(SMALL)
        ]
    if layout == "large":
        return 1, [("model.embed_tokens.weight", (columns, HIDDEN))]
    layer_bytes = sum(2 * torch.Size(shape).numel() for _, shape in layer_shapes(0))
    layers = max(1, round((gigabytes * 1e9 - 2 * VOCABULARY * HIDDEN) / layer_bytes))
    return layers, list(shapes(layers))


def shapes(layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the whole model; embeddings are tied."""
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(layers):
        yield from layer_shapes(layer)
    yield "model.norm.weight", (HIDDEN,)


def config(layers: int) -> dict[str, object]:
    """config.json of the model."""
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "dtype": "bfloat16",
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "max_position_embeddings": 4096,
        "model_type": "qwen3",
        "num_attention_heads": HEADS,
        "num_hidden_layers": layers,
        "num_key_value_heads": KV_HEADS,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000,
        "tie_word_embeddings": True,
        "vocab_size": VOCABULARY,
    }


def write_model(
    folder: Path, layers: int, listed: Shapes, shards: int, *, seed: int, noise_seed: int | None
) -> int:
    """Write one side; returns the bytes of its tensors.

    Args:
        folder: Is created.
        layers: Decoder layers, for the config.
        listed: Names and shapes of all tensors.
        shards: Weight files.
        seed: Of the weights; equal for both sides.
        noise_seed: Of what is added to them; None adds nothing.
    """
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config(layers), indent=2) + "\n", encoding="utf-8")
    weights = torch.Generator().manual_seed(seed)
    noise = torch.Generator().manual_seed(noise_seed or 0)
    total = sum(2 * torch.Size(shape).numel() for _, shape in listed)
    weight_map: dict[str, str] = {}
    pending: dict[str, torch.Tensor] = {}
    number, held = 1, 0
    for position, (name, shape) in enumerate(listed):
        tensor = torch.randn(shape, generator=weights) * 0.02
        if noise_seed is not None:
            tensor += torch.randn(shape, generator=noise) * 0.001
        pending[name] = tensor.to(torch.bfloat16)
        held += pending[name].nbytes
        if held >= total / shards or position == len(listed) - 1:
            file = f"model-{number:05d}-of-{shards:05d}.safetensors"
            save_file(pending, folder / file, metadata={"format": "pt"})
            weight_map.update(dict.fromkeys(pending, file))
            pending, held, number = {}, 0, number + 1
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return total


def write_pair(
    folder: Path, *, gigabytes: float, shards: int, seed: int = 0, layout: str = "qwen3"
) -> tuple[Path, Path]:
    """Write `random-instruct` and `random-thinking`, the second in one shard more than the first."""
    layers, listed = shapes_of(layout, gigabytes)
    instruct, thinking = folder / "random-instruct", folder / "random-thinking"
    write_model(instruct, layers, listed, shards, seed=seed, noise_seed=None)
    write_model(thinking, layers, listed, shards + 1, seed=seed, noise_seed=seed + 1)
    return instruct, thinking


@click.command(help=__doc__)
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--gigabytes", default=2.0, show_default=True, help="Size of one side.")
@click.option("--shards", default=2, show_default=True, help="Weight files of the Instruct side.")
@click.option("--seed", default=0, show_default=True, help="Seed of the weights and the noise.")
@click.option(
    "--layout",
    type=click.Choice(["qwen3", "small", "large"]),
    default="qwen3",
    show_default=True,
    help="Layout of the tensors.",
)
def main(*, out: Path, gigabytes: float, shards: int, seed: int, layout: str) -> None:
    for side in write_pair(out, gigabytes=gigabytes, shards=shards, seed=seed, layout=layout):
        click.echo(side)


if __name__ == "__main__":
    main()
