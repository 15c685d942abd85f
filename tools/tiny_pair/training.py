"""Training a model through stages: the base from random weights, an endpoint from the base.

Knows no lambda and writes no file; says how far it is through a callback.
"""

import copy
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

from tiny_pair.batches import IGNORED, examples, packed_batches
from tiny_pair.mixture import NOMINAL_MINUTES, Stage
from tiny_pair.model import make_model
from tiny_pair.tokenizer import THINK, TOKEN_ID

Progress = Callable[[str], None]

_HIDING = 1e4


def scaled(stage: Stage, minutes: float) -> Stage:
    """The stage with its number of steps in proportion to the minutes, at least one."""
    return replace(stage, steps=max(1, round(stage.steps * minutes / NOMINAL_MINUTES)))


def make_optimizer(model: LlamaForCausalLM) -> torch.optim.Optimizer:
    """AdamW; every stage sets its learning rate."""
    return torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)


def train_stage(
    model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, stage: Stage, seed: int, progress: Progress
) -> None:
    """Run a stage in place. Its questions depend on the seed and the stage's name alone."""
    batches = packed_batches(examples(stage, random.Random(f"{stage.name} {seed}")))
    began, total = time.monotonic(), 0.0
    model.train()
    for step in range(stage.steps):
        for group in optimizer.param_groups:
            group["lr"] = stage.first_rate + (stage.last_rate - stage.first_rate) * step / stage.steps
        batch = next(batches)
        labels, hidden = batch.pop("labels")[:, 1:], batch.pop("hidden")[:, 1:]
        logits = model(**batch, use_cache=False).logits[:, :-1]
        known = labels != IGNORED
        logits, aims, hides = logits[known], labels[known], hidden[known]
        hiding = torch.zeros_like(logits)
        hiding[hides, TOKEN_ID[THINK]] = -_HIDING
        loss = functional.cross_entropy(logits + hiding, aims)
        loss.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        total += loss.item()
        if (step + 1) % 250 == 0 or step + 1 == stage.steps:
            seen = step % 250 + 1
            elapsed_s = time.monotonic() - began
            progress(f"{stage.name} {step + 1}/{stage.steps} loss {total / seen:.4f} {elapsed_s:.0f} s")
            total = 0.0


def train_base(
    stages: Sequence[Stage], seed: int, progress: Progress, start: LlamaForCausalLM | None = None
) -> LlamaForCausalLM:
    """The base of both endpoints, from random weights or from a model that went through earlier stages."""
    model = make_model(seed) if start is None else start
    optimizer = make_optimizer(model)
    for stage in stages:
        train_stage(model, optimizer, stage, seed, progress)
    return model


def train_endpoint(base: LlamaForCausalLM, stage: Stage, seed: int, progress: Progress) -> LlamaForCausalLM:
    """A fine-tuned copy of the base."""
    model = copy.deepcopy(base)
    train_stage(model, make_optimizer(model), stage, seed, progress)
    return model
