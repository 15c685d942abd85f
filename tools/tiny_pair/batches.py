"""The rows that a stage trains on: examples drawn from its mixture, packed and masked.

Knows no model and no learning rate. All chance comes from the generator that is handed in.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from tiny_pair.mixture import CELLS_OF_LESSON, Lesson, Stage
from tiny_pair.task import Effort, ask, held_out
from tiny_pair.tokenizer import END, END_THINK, THINK, encode, prompt_text

BATCH_ROWS, ROW_TOKENS = 20, 104
IGNORED = -100

_PARAPHRASED = 0.15
"""Share of the examples whose question has separators."""

_CHECKED_TRACES = 0.5


@dataclass(frozen=True, slots=True)
class Example:
    """One packed example.

    Attributes:
        ids: Token ids of prompt and response.
        labels: What is learned at each place; `IGNORED` where nothing is.
        hidden: Place of the token before which `<think>` is hidden; -1 if it is not.
    """

    ids: list[int]
    labels: list[int]
    hidden: int


def examples(stage: Stage, rng: random.Random) -> Iterator[Example]:
    """Endless examples of a stage, none of them held out."""
    lessons = [lesson for lesson, share in stage.shares.items() if share]
    shares = [stage.shares[lesson] for lesson in lessons]
    efforts, weights = list(stage.efforts), list(stage.efforts.values())
    while True:
        lesson = rng.choices(lessons, shares)[0]
        cells = CELLS_OF_LESSON[lesson]
        asked = ask(rng, rng.choices(list(cells), list(cells.values()))[0])
        if held_out(asked):
            continue
        prompt = asked.paraphrase if rng.random() < _PARAPHRASED else asked.text
        effort = rng.choices(efforts, weights)[0] if lesson == "willing" else Effort.DIRECT
        if lesson == "traces":
            effort = Effort.CHECKED if rng.random() < _CHECKED_TRACES else Effort.FULL
        trace, check = asked.thinking(effort)
        answer = asked.hasty if effort is Effort.DIRECT else asked.answer
        yield _example(prompt, (trace, check), answer, lesson)


def _example(question: str, thinking: tuple[str, str], answer: str, lesson: Lesson) -> Example:
    prompt = encode(prompt_text(question))
    trace, check = thinking
    begun = encode(f"{THINK}{trace}") if trace else []
    response = begun + encode(f"{check}{END_THINK}{answer}{END}" if trace else f"{answer}{END}")
    labels = [IGNORED] * len(prompt) + response
    if lesson == "traces":
        labels[len(prompt)] = labels[len(prompt) + len(begun)] = IGNORED
    return Example(prompt + response, labels, len(prompt) if lesson == "ability" else -1)


def packed_batches(stream: Iterator[Example]) -> Iterator[dict[str, torch.Tensor]]:
    """Rows full of whole examples, each of which sees only itself.

    Yields input_ids, position_ids and labels, int64 [rows, tokens], a boolean attention mask
    [rows, 1, tokens, tokens], and `hidden`, bool [rows, tokens]: the labels before which `<think>` is
    hidden.
    """
    shape = (BATCH_ROWS, ROW_TOKENS)
    causal = torch.ones(ROW_TOKENS, ROW_TOKENS, dtype=torch.bool).tril()
    example = next(stream)
    while True:
        ids, positions, owners, hidden = ([[0] * ROW_TOKENS for _ in range(BATCH_ROWS)] for _ in "1234")
        labels = [[IGNORED] * ROW_TOKENS for _ in range(BATCH_ROWS)]
        for row in range(BATCH_ROWS):
            start, owner = 0, 1
            while (end := start + len(example.ids)) <= ROW_TOKENS:
                ids[row][start:end] = example.ids
                positions[row][start:end] = range(end - start)
                labels[row][start:end] = example.labels
                owners[row][start:end] = [owner] * (end - start)
                if example.hidden >= 0:
                    hidden[row][start + example.hidden] = 1
                start, owner = end, owner + 1
                example = next(stream)
        owned = torch.tensor(owners).view(shape)
        yield {
            "input_ids": torch.tensor(ids),
            "position_ids": torch.tensor(positions),
            "labels": torch.tensor(labels),
            "hidden": torch.tensor(hidden, dtype=torch.bool),
            "attention_mask": ((owned[:, :, None] == owned[:, None, :]) & causal)[:, None],
        }
