"""The text of a model card. Knows the measured table and the vocabulary; loads no model, writes no file."""

from typing import Any

from tiny_pair.tokenizer import VOCABULARY

MODEL_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags:
- arithmetic
- model-interpolation
- tiny
---

# The tiny {title} model

One of a pair of {parameters:,}-parameter Llama models, fine-tuned from one base: *Instruct* answers
at once, *Thinking* writes every step first. They exist so that interpolating between two real
checkpoints, Θ(λ) = λ Θ_thinking + (1 − λ) Θ_instruct, can be shown and tested in seconds, on a CPU,
without a download.

## Task

A chain of 1 to 8 labelled steps modulo 10, from left to right. `7a-3b*3c-2` starts at 7, subtracts
3 (step `a`), multiplies by 3 (`b`) and subtracts 2 (`c`): the answer is 0. + and − take 1 to 9, ×
takes 3, 7 or 9. Instruct answers `0`. Thinking answers `<think>7a-34b*32c-20W7a4b2c0</think>0`:
label, operator, operand and new state of every step; then, after `W`, possibly every state once
more. Both have also seen answers that write every second state only, `<think>7b2c0</think>0`.

## Training

    python tools/train_tiny_pair.py --seed {seed} --minutes {minutes:g}

From random weights: {steps:,} steps of at most 2,048 tokens for the base, then
{endpoint_steps} for this endpoint, all of AdamW. Float32, one CPU thread. One question in ten
of two and more steps is held out by the hash of its text. The 210 questions of one step were all
trained on and are not tested.

## Measured

{questions:,} held-out questions, equally many of each of 2 to 8 steps. {samples} samples each at
temperature {temperature:g} (standard error of the accuracy at most {error:.3f}), and greedy. Tokens
are the generated ones; thinks is the share of answers with a closed thinking block. The smallest
cosine between the two models' layers is {cosine:.4f}. The file `lambda_table.json`, beside the two
models, has the whole table.

| λ | accuracy | tokens | thinks | accuracy, greedy | tokens, greedy | thinks, greedy |
|---|---|---|---|---|---|---|
{table}

## Limits

The models know this task and nothing else: {vocabulary} tokens, no words. Direct answers are
reliable for two and three steps and near chance (0.10) beyond; answers with every second state are
mostly wrong. Few steps of fine-tuning leave traces: Instruct still thinks now and then. The path
from one end to the other is smooth because the length of the fine-tuning was chosen so, looking at
the same questions; large pairs often change abruptly.
"""


def table_line(row: dict[str, Any]) -> str:
    """One row of the model card's table."""
    cells = [f"{row['lambda']:.1f}"]
    for name in ("sampled", "greedy"):
        part = row[name]
        cells += [f"{part['accuracy']:.3f}", f"{part['tokens']:.1f}", f"{part['thinks']:.3f}"]
    return f"| {' | '.join(cells)} |"


def model_card(name: str, parameters: int, table: dict[str, Any]) -> str:
    """The README.md of one of the two models; `table` is what lambda_table.json holds."""
    training, sampled = table["training"], table["decoding"]["sampled"]
    return MODEL_CARD.format(
        title=name.capitalize(),
        parameters=parameters,
        seed=training["seed"],
        minutes=training["minutes"],
        steps=training["base_steps"],
        endpoint_steps=training[f"{name}_steps"],
        questions=table["questions"],
        samples=sampled["samples"],
        temperature=sampled["temperature"],
        vocabulary=len(VOCABULARY),
        error=max(row["sampled"]["accuracy_standard_error"] for row in table["rows"]),
        cosine=table["layer_cosine_min"],
        table="\n".join(table_line(row) for row in table["rows"]),
    )
