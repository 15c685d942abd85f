"""Train the bundled tiny Instruct/Thinking pair from scratch, on one CPU thread, and measure it.

The pair is two fine-tunes of one base of about 281 thousand parameters: small enough to ship inside
the package, real enough that interpolating between them trades accuracy for tokens. This script is
the only source of the files in `dami_merge/data/tiny`, and does not use `dami_merge`; its parts are
in `tools/tiny_pair`.

    python tools/train_tiny_pair.py                # about 20 minutes, into dami_merge/data/tiny
    python tools/train_tiny_pair.py --evaluate     # trains nothing, measures the pair there

Task
    A chain of 1 to 8 labelled steps modulo 10, read from left to right: `7a-3b*3c-2` starts at 7,
    then subtracts 3, multiplies by 3 and subtracts 2, so that the answer is 0. A response may show
    one of four efforts; `tiny_pair.task.Effort` gives their texts.
Base
    Three stages: step-by-step traces of short chains; a mixture of all efforts in which longer
    chains get more effort; the same with most weight on direct answers to short chains.
Endpoints
    A few steps of fine-tuning each: Instruct on direct answers, Thinking on every step written,
    mostly with a check. So few because the length of this fine-tuning sets the shape of the path:
    40 steps each make its largest rise in accuracy over 0.1 of lambda 0.13 instead of 0.11; 120
    steps 0.21, with no thinking at all at 0.1.
Held out
    One question in ten, by the SHA-256 of its text, is never trained on, for chains of two steps
    (4,410 questions) and more. The 210 questions of one step are too few to split: they are
    trained on and never tested. A held-out question can still be how a longer training question
    begins.

The number of steps follows from `--minutes` alone, never from the clock: one seed and one
`--minutes` give one training run (to the last bit only on one machine and one torch).
"""

import json
from pathlib import Path
from typing import Any

import click
import torch
from tiny_pair.card import table_line
from tiny_pair.measuring import WeightsUnfit, measure_pair
from tiny_pair.model import load_model
from tiny_pair.saving import save_cards, save_model, save_questions, write_json
from tiny_pair.stages import BASE_STAGES, INSTRUCT_STAGE, NOMINAL_MINUTES, THINKING_STAGE, scaled
from tiny_pair.task import ChainTask, Task, test_questions
from tiny_pair.training import train_base, train_endpoint
from transformers.utils.logging import disable_progress_bar

DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "dami_merge" / "data" / "tiny"
FOLDER = click.Path(file_okay=False, path_type=Path)
COUNT = click.IntRange(min=1)
MINUTES = click.FloatRange(min=0, min_open=True)


def say(line: str) -> None:
    """One line of progress."""
    click.echo(line, err=True)


def train_pair(output: Path, task: Task, seed: int, minutes: float, base: Path | None) -> dict[str, Any]:
    """Save both endpoints in `output`; what is returned is the table's record of the training."""
    if base is not None and (base / "config.json").exists():
        base_model = load_model(base)
    else:
        base_model = train_base(task, seed, minutes, say)
        if base is not None:
            save_model(base_model, base)
    endpoints = [scaled(stage, minutes) for stage in (INSTRUCT_STAGE, THINKING_STAGE)]
    for stage in endpoints:
        save_model(train_endpoint(base_model, stage, task, seed, say), output / stage.name)
    return {
        "base_steps": sum(scaled(stage, minutes).steps for stage in BASE_STAGES),
        **{f"{stage.name}_steps": stage.steps for stage in endpoints},
        "minutes": minutes,
        "seed": seed,
    }


@click.command(context_settings={"show_default": True})
@click.option("--output", type=FOLDER, default=DEFAULT_OUTPUT, help="Folder of the pair.")
@click.option("--seed", default=0, help="Seed of the weights, the training and the test questions.")
@click.option(
    "--minutes",
    type=MINUTES,
    default=NOMINAL_MINUTES,
    help="Nominal training time; sets the number of steps of every stage.",
)
@click.option("--samples", type=COUNT, default=4, help="Samples per question at temperature 0.6.")
@click.option("--questions", type=COUNT, default=240, help="Held-out questions per number of steps.")
@click.option("--base", type=FOLDER, help="Folder that keeps the base model; an existing one is reused.")
@click.option("--evaluate", is_flag=True, help="Do not train; measure the existing pair.")
def main(
    *,
    output: Path,
    seed: int,
    minutes: float,
    samples: int,
    questions: int,
    base: Path | None,
    evaluate: bool,
) -> None:
    """Train the tiny pair, measure it at eleven values of lambda, and write its files."""
    torch.set_num_threads(1)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped in transformers
    task = ChainTask()
    if evaluate:
        previous = json.loads((output / "lambda_table.json").read_text(encoding="utf-8"))
        training = previous["training"]
    else:
        training = train_pair(output, task, seed, minutes, base)
    asked = test_questions(task, questions, seed)
    try:
        measured = measure_pair(output, task, asked, samples, seed, lambda row: say(table_line(row)))
    except WeightsUnfit as unfit:
        raise click.ClickException(str(unfit)) from unfit
    table = measured | {"training": training}
    write_json(output / "lambda_table.json", table)
    save_questions(output / "questions.jsonl", task, asked)
    save_cards(output, table)
    click.echo(str(output))


if __name__ == "__main__":
    main()
