"""The rows that a stage trains on: examples drawn from its mixture, packed and masked.

Knows no model and no learning rate. All chance comes from the generator that is handed in.
"""

import random
from collections.abc import Iterator

import torch

from tiny_pair.stages import Stage
from tiny_pair.task import Effort, Task, held_out
from tiny_pair.tokenizer import encode, prompt_text, response_text

BATCH_ROWS, ROW_TOKENS = 16, 128


def leaning_effort(rng: random.Random, level: int) -> Effort:
    """A random effort, higher for higher levels: the base itself thinks more on long chains."""
    lean = rng.gauss(0.30 + 0.05 * level, 0.25)
    return Effort(sum(lean > threshold for threshold in (0.36, 0.50, 0.80)))


def examples(task: Task, stage: Stage, rng: random.Random) -> Iterator[tuple[list[int], list[int]]]:
    """Endless (prompt ids, response ids) of a stage, none of them held out."""
    shares = [part.share for part in stage.parts]
    while True:
        part = rng.choices(stage.parts, shares)[0]
        level = rng.choices(task.levels, part.level_weights)[0]
        question = task.question(rng, level)
        if held_out(task, question):
            continue
        effort = leaning_effort(rng, level) if part.effort is None else part.effort
        yield encode(prompt_text(question)), encode(response_text(task, question, effort))


def packed_batches(
    stream: Iterator[tuple[list[int], list[int]]],
) -> Iterator[dict[str, torch.Tensor]]:
    """Rows full of whole examples, each of which sees only itself; only responses are learned.

    Yields input_ids, position_ids and labels, int64 [rows, tokens], and a boolean attention mask
    [rows, 1, tokens, tokens].
    """
    shape = (BATCH_ROWS, ROW_TOKENS)
    causal = torch.ones(ROW_TOKENS, ROW_TOKENS, dtype=torch.bool).tril()
    prompt, response = next(stream)
    while True:
        ids, positions, labels, owners = ([[0] * ROW_TOKENS for _ in range(BATCH_ROWS)] for _ in "1234")
        for row in range(BATCH_ROWS):
            labels[row] = [-100] * ROW_TOKENS
            start, owner = 0, 1
            while (end := start + len(prompt) + len(response)) <= ROW_TOKENS:
                ids[row][start:end] = prompt + response
                positions[row][start:end] = range(end - start)
                labels[row][start + len(prompt) : end] = response
                owners[row][start:end] = [owner] * (end - start)
                start, owner = end, owner + 1
                prompt, response = next(stream)
        owned = torch.tensor(owners).view(shape)
        yield {
            "input_ids": torch.tensor(ids),
            "position_ids": torch.tensor(positions),
            "labels": torch.tensor(labels),
            "attention_mask": ((owned[:, :, None] == owned[:, None, :]) & causal)[:, None],
        }
