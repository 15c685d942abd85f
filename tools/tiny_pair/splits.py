"""The bundled questions: which are asked, in which order, and their lines in the files.

Knows texts only. All are held out from the pair's training by the rule of `tiny_pair.task`, a property of a
question's text, so that they hold for any training run.
"""

import json
import random
from collections.abc import Sequence

from tiny_pair.mixture import ASKED_CELLS, FAMILY_CELLS
from tiny_pair.task import Asked, held_out_questions

PER_CELL = {"test": 105, "validation": 26, "train": 105}
"""Questions of each cell in each split, in the order of the draw; the cells are `ASKED_CELLS`."""

FAMILY_PER_CELL = 105
"""Questions of each cell of the held-out family."""

SHIPPED_QUESTIONS = 200
"""How many of the test questions make the short file that checks and examples read."""


def in_turns(cells: Sequence[Sequence[Asked]]) -> list[Asked]:
    """One question of every cell after the other, so that any first part is as balanced as the whole."""
    return [asked for turn in zip(*cells, strict=True) for asked in turn]


def drawn_splits(seed: int) -> dict[str, list[Asked]]:
    """The questions of `test`, `validation`, `train` and `heldout`; no two have the same text.

    One draw of each cell is cut into the splits.
    """
    rng = random.Random(f"questions {seed}")
    total = sum(PER_CELL.values())
    drawn = [held_out_questions(rng, cell, total) for cell in ASKED_CELLS]
    splits: dict[str, list[Asked]] = {}
    first = 0
    for name, count in PER_CELL.items():
        splits[name] = in_turns([cell[first : first + count] for cell in drawn])
        first += count
    family = [held_out_questions(rng, cell, FAMILY_PER_CELL) for cell in FAMILY_CELLS]
    return splits | {"heldout": in_turns(family)}


def question_files(seed: int) -> dict[str, list[str]]:
    """The lines of every file of questions, by the file's name without `.jsonl`."""
    splits = drawn_splits(seed)
    files = {
        name: [_line(asked, f"{name}-{number:04d}", asked.text) for number, asked in enumerate(split)]
        for name, split in splits.items()
    }
    files["paraphrased"] = [
        _line(asked, f"test-{number:04d}-p", asked.paraphrase) for number, asked in enumerate(splits["test"])
    ]
    files["questions"] = [
        _line(asked, f"{number:03d}", asked.text)
        for number, asked in enumerate(splits["test"][:SHIPPED_QUESTIONS])
    ]
    return files


def _line(asked: Asked, key: str, prompt: str) -> str:
    row = {"answer": asked.answer, "group": asked.cell, "id": key, "kind": "exact", "prompt": prompt}
    return f"{json.dumps(row, sort_keys=True)}\n"
