"""How many threads a model needs: tokens per second of one thread and of all, alone and in company.

Random Llama models of several sizes generate as `sweep` does. The company is a torch job with as many threads
as there are cores, at the same priority. With several threads, each small operation waits for the slowest of
them, and they spin while they wait.

    python tools/bench_threads.py        # about three minutes
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from dami_merge.tensors.threads import SMALL_MODEL, cpu_workers

SIZES = {"0.3M": (64, 4), "3M": (192, 6), "10M": (320, 8), "28M": (512, 9), "85M": (768, 12)}
"""Width and layers."""

NEIGHBOUR = (
    "import torch; torch.set_num_threads({threads}); x = torch.randn(1500, 1500)\nwhile True: x @ x / 1500"
)


def random_model(width: int, layers: int) -> LlamaForCausalLM:
    """Build a model with random weights and a small vocabulary."""
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        max_position_embeddings=256,
    )
    model = LlamaForCausalLM(config)
    model.train(mode=False)
    return model


@contextmanager
def company(threads: int) -> Iterator[None]:
    """Run a busy torch job beside."""
    job = subprocess.Popen([sys.executable, "-c", NEIGHBOUR.format(threads=threads)])
    time.sleep(5)
    try:
        yield
    finally:
        job.kill()
        job.wait()


def tokens_per_second(model: LlamaForCausalLM, threads: int, rows: int) -> float:
    """Generate 16 tokens for each of some prompts of 16 tokens; the better of two runs after a first."""
    torch.set_num_threads(threads)
    ids = torch.randint(4, 256, (rows, 16))
    config = GenerationConfig(  # type: ignore[no-untyped-call]  # untyped in transformers
        do_sample=False, max_new_tokens=16, min_new_tokens=16, pad_token_id=0
    )
    generate: Any = model.generate
    best = 0.0
    for run in range(3):
        start = time.monotonic()
        generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
        if run:
            best = max(best, rows * 16 / (time.monotonic() - start))
    return best


@click.command(context_settings={"show_default": True})
@click.option("--rows", default=64, help="Answers generated at once.")
def main(*, rows: int) -> None:
    """Print one line for each size."""
    cores = cpu_workers()
    torch.manual_seed(0)
    click.echo(
        f"{cores} cores, {rows} answers at once, tokens/s; dami-merge uses one thread up to {SMALL_MODEL:,}"
    )
    click.echo(
        f"| parameters | alone, 1 thread | alone, {cores} | ratio | in company, 1 thread | {cores} | ratio |"
    )
    click.echo("|---|---|---|---|---|---|---|")
    for width, layers in SIZES.values():
        model = random_model(width, layers)
        count = sum(each.numel() for each in model.parameters())
        found = [tokens_per_second(model, threads, rows) for threads in (1, cores)]
        with company(cores):
            found += [tokens_per_second(model, threads, rows) for threads in (1, cores)]
        one, many, one_beside, many_beside = found
        alone = f"{one:,.0f} | {many:,.0f} | {one / many:.2f}"
        beside = f"{one_beside:,.0f} | {many_beside:,.0f} | {one_beside / many_beside:.2f}"
        click.echo(f"| {count:,} | {alone} | {beside} |")


if __name__ == "__main__":
    main()
