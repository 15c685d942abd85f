"""Training a model through stages: the base from random weights, an endpoint from the base.

Knows no lambda and writes no file; says how far it is through a callback.
"""

import copy
import random
import time
from collections.abc import Callable

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

from tiny_pair.batches import examples, packed_batches
from tiny_pair.model import make_model
from tiny_pair.stages import BASE_STAGES, Stage, scaled
from tiny_pair.task import Task

Progress = Callable[[str], None]


def make_optimizer(model: LlamaForCausalLM) -> torch.optim.Optimizer:
    """AdamW; every stage sets its learning rate."""
    return torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)


def train_stage(
    model: LlamaForCausalLM,
    optimizer: torch.optim.Optimizer,
    stage: Stage,
    task: Task,
    seed: int,
    progress: Progress,
) -> None:
    """Run a stage in place. Its questions depend on the seed and the stage's name alone."""
    batches = packed_batches(examples(task, stage, random.Random(f"{stage.name} {seed}")))
    began, total = time.monotonic(), 0.0
    model.train()
    for step in range(stage.steps):
        for group in optimizer.param_groups:
            group["lr"] = stage.first_rate + (stage.last_rate - stage.first_rate) * step / stage.steps
        batch = next(batches)
        labels = batch.pop("labels")
        logits = model(**batch, use_cache=False).logits
        loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
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


def train_base(task: Task, seed: int, minutes: float, progress: Progress) -> LlamaForCausalLM:
    """The base of both endpoints, from random weights."""
    model = make_model(seed)
    optimizer = make_optimizer(model)
    for stage in BASE_STAGES:
        train_stage(model, optimizer, scaled(stage, minutes), task, seed, progress)
    return model


def train_endpoint(
    base: LlamaForCausalLM, stage: Stage, task: Task, seed: int, progress: Progress
) -> LlamaForCausalLM:
    """A fine-tuned copy of the base."""
    model = copy.deepcopy(base)
    train_stage(model, make_optimizer(model), stage, task, seed, progress)
    return model
