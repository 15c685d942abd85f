"""Write the three sets of questions that a sweep of the bundled pair asks.

    python tools/write_questions.py                # into dami_merge/data/tiny

All are held out from the pair's training by the rule of `tiny_pair.task`, a property of a question's text, so
that they hold for any training run of the tool beside this one. One draw is cut into three, so that they are
disjoint. Each has equally many of every number of steps, in turns, so that its first part has so too.
"""

import json
from pathlib import Path

import click
from tiny_pair.task import ChainTask, test_questions

DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "dami_merge" / "data" / "tiny"

PER_LEVEL = {"test": 90, "validation": 30, "train": 144}
"""Questions of each number of steps, in the order of the draw; times seven levels."""


def split_lines(seed: int) -> dict[str, list[str]]:
    """The lines of each set's file."""
    task = ChainTask()
    total = sum(PER_LEVEL.values())
    drawn = test_questions(task, total, seed)
    levels = [drawn[start : start + total] for start in range(0, len(drawn), total)]
    lines: dict[str, list[str]] = {}
    first = 0
    for name, count in PER_LEVEL.items():
        turns = zip(*(level[first : first + count] for level in levels), strict=True)
        asked = [question for turn in turns for question in turn]
        lines[name] = [_line(task, f"{name}-{number:04d}", q) for number, q in enumerate(asked)]
        first += count
    return lines


def _line(task: ChainTask, key: str, question: str) -> str:
    row = {
        "answer": task.answer(question),
        "group": task.difficulty(question),
        "id": key,
        "kind": "exact",
        "prompt": question,
    }
    return f"{json.dumps(row, sort_keys=True)}\n"


@click.command(context_settings={"show_default": True})
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_OUTPUT,
    help="Folder to write to.",
)
@click.option("--seed", default=0, help="Seed of the draw.")
def main(*, output: Path, seed: int) -> None:
    """Write train.jsonl, validation.jsonl and test.jsonl."""
    for name, lines in split_lines(seed).items():
        (output / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        click.echo(f"{output / name}.jsonl: {len(lines)} questions")


if __name__ == "__main__":
    main()
