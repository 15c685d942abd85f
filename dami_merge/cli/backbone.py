"""`dami-merge backbone`: fine-tune a classifier of transformers to say a utility for every λ."""

import shlex
from pathlib import Path

import click

from dami_merge.cli.output import json_option, show_json

FILE_OR_FOLDER = click.Path(readable=False, path_type=Path)


@click.command("backbone", short_help="Fine-tune a classifier on preferences.")
@click.argument("model")
@click.option(
    "--rollouts",
    type=FILE_OR_FOLDER,
    default=Path("rollouts.jsonl"),
    show_default=True,
    help="Rollouts of the training questions, written by `dami-merge sweep`.",
)
@click.option(
    "-o",
    "--output",
    type=FILE_OR_FOLDER,
    default=Path("backbone"),
    show_default=True,
    help="Folder to make; it must not exist.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Most passes over the questions.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=0.0,
    help="Learning rate.  [default: 5e-5; 5e-4 with LoRA]",
)
@click.option("--lora", type=click.IntRange(min=0), default=0, help="Rank of LoRA; 0 trains all weights.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Seed.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@json_option
def backbone_command(  # noqa: PLR0913 - one argument for each option
    *,
    model: str,
    rollouts: Path,
    output: Path,
    epochs: int,
    rate: float,
    lora: int,
    seed: int,
    device: str,
    as_json: bool,
) -> None:
    """Fine-tune MODEL on the preferences between λ of a sweep, for `train pref --features backbone:FOLDER`.

    MODEL is a folder or a Hub id that AutoModelForSequenceClassification loads; so is what is written. What
    `train` then prints about questions that were left out is too good, since the backbone has seen their
    answers: judge it with `evaluate` on other questions.
    """
    from dami_merge.estimators.fitting.backbone import BackboneOptions, fit_backbone
    from dami_merge.estimators.pretrained import open_encoder_source
    from dami_merge.use_cases.train import read_examples

    fit = fit_backbone(
        read_examples(rollouts),
        open_encoder_source(model),
        output,
        BackboneOptions(epochs=epochs, rate=rate, lora=lora),
        seed,
        device=device,
        progress=lambda epoch, loss: click.echo(f"pass {epoch}: held-out loss {loss:.4f}", err=True),
    )
    if as_json:
        show_json({"folder": str(output), "losses": fit.losses, "chosen": fit.chosen, "unread": fit.unread})
        return
    click.echo(f"{output}: pass {fit.chosen}, held-out loss {fit.losses[fit.chosen]:.4f} nats a pair")
    click.echo(f"without reading the questions, the best possible loss is {fit.unread:.4f}")
    features = shlex.quote(f"backbone:{output}")
    click.echo(
        f"next: dami-merge train pref GRID --rollouts {shlex.quote(str(rollouts))} --features {features}"
    )
