"""Train the bundled tiny Instruct/Thinking pair from scratch, on one CPU thread, and measure it.

The pair is two fine-tunes of one base of about 282 thousand parameters: small enough to ship inside
the package, real enough that interpolating between them trades accuracy for tokens, and made so that
queries differ in the λ that serves them best. This script is the only source of the weights, the cards and
the λ table in `dami_merge/data/tiny`; `write_questions.py` writes the questions there. Neither uses
`dami_merge`; their parts are in `tools/tiny_pair`.

    python tools/train_tiny_pair.py --seed 1 --output /tmp/seed-1
    python tools/train_tiny_pair.py --other /tmp/seed-1/lambda_table.json   # into dami_merge/data/tiny
    python tools/train_tiny_pair.py --evaluate     # trains nothing, measures the pair there

Skills
    Eight, each at several sizes; `tiny_pair.skills` has their questions, answers and traces. A response
    shows one of three efforts, see `tiny_pair.task.Effort`. `tiny_pair.mixture` says how much of each is
    trained, and which are asked.
Base
    Three stages: traces and direct answers; mostly direct answers; and one that settles the will to think,
    the same for every question, at a falling learning rate.
Endpoints
    A few steps of fine-tuning each: Instruct on direct answers, Thinking on every step written with a
    check. So few because the length of this fine-tuning sets the shape of the path.
Held out
    One question in ten of every skill and size, by the SHA-256 of its text, is never trained on, in either
    form. The 210 chains of one step are too few to split: they are trained on and never tested. A held-out
    question can still be how a longer training question begins.

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
from tiny_pair.mixture import ASKED_CELLS, BASE_STAGES, INSTRUCT_STAGE, NOMINAL_MINUTES, THINKING_STAGE
from tiny_pair.model import load_model
from tiny_pair.saving import save_cards, save_model, write_json
from tiny_pair.splits import PER_CELL, drawn_splits
from tiny_pair.training import scaled, train_base, train_endpoint
from transformers.utils.logging import disable_progress_bar

DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "dami_merge" / "data" / "tiny"
FOLDER = click.Path(file_okay=False, path_type=Path)
COUNT = click.IntRange(min=1)
MINUTES = click.FloatRange(min=0, min_open=True)


def say(line: str) -> None:
    """One line of progress."""
    click.echo(line, err=True)


def train_pair(output: Path, seed: int, minutes: float, base: Path | None) -> dict[str, Any]:
    """Save both endpoints in `output`; what is returned is the table's record of the training."""
    stages = [scaled(stage, minutes) for stage in BASE_STAGES]
    if base is not None and (base / "config.json").exists():
        base_model = load_model(base)
    else:
        base_model = train_base(stages[:-1], seed, say)
        if base is not None:
            save_model(base_model, base)
    base_model = train_base(stages[-1:], seed, say, base_model)
    endpoints = [scaled(stage, minutes) for stage in (INSTRUCT_STAGE, THINKING_STAGE)]
    for stage in endpoints:
        save_model(train_endpoint(base_model, stage, seed, say), output / stage.name)
    return {
        "base_steps": sum(stage.steps for stage in stages),
        **{f"{stage.name}_steps": stage.steps for stage in endpoints},
        "minutes": minutes,
        "seed": seed,
    }


def summary_of(file: Path) -> dict[str, Any]:
    """What the cards show of another seed's table."""
    table = json.loads(file.read_text(encoding="utf-8"))
    return {
        name: table[name] for name in ("layer_cosine_min", "questions", "routed_by_group", "rows", "training")
    }


@click.command(context_settings={"show_default": True})
@click.option("--output", type=FOLDER, default=DEFAULT_OUTPUT, help="Folder of the pair.")
@click.option("--seed", default=0, help="Seed of the weights, the training and the sampling.")
@click.option(
    "--minutes",
    type=MINUTES,
    default=NOMINAL_MINUTES,
    help="Nominal training time; sets the number of steps of every stage.",
)
@click.option(
    "--samples", type=click.IntRange(min=2), default=4, help="Samples per question at temperature 0.6."
)
@click.option("--questions", type=COUNT, default=PER_CELL["test"], help="Test questions per group, at most.")
@click.option(
    "--base",
    type=FOLDER,
    help="Folder that keeps the base model before it settles; an existing one is reused.",
)
@click.option(
    "--other",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="lambda_table.json of a pair with another seed, for the cards.",
)
@click.option("--evaluate", is_flag=True, help="Do not train; measure the existing pair.")
def main(
    *,
    output: Path,
    seed: int,
    minutes: float,
    samples: int,
    questions: int,
    base: Path | None,
    other: Path | None,
    evaluate: bool,
) -> None:
    """Train the tiny pair, measure it at eleven values of lambda, and write its table and cards."""
    torch.set_num_threads(1)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped in transformers
    extra: dict[str, Any] = {}
    if evaluate:
        previous = json.loads((output / "lambda_table.json").read_text(encoding="utf-8"))
        extra = {name: previous[name] for name in ("training", "other_seed") if name in previous}
    else:
        extra["training"] = train_pair(output, seed, minutes, base)
    if other is not None:
        extra["other_seed"] = summary_of(other)
    asked = drawn_splits(0)["test"][: questions * len(ASKED_CELLS)]
    try:
        measured = measure_pair(output, asked, samples, seed, lambda row: say(table_line(row)))
    except WeightsUnfit as unfit:
        raise click.ClickException(str(unfit)) from unfit
    table = measured | extra
    write_json(output / "lambda_table.json", table)
    save_cards(output, table)
    click.echo(str(output))


if __name__ == "__main__":
    main()
