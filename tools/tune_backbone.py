"""Fine-tune a classifier of transformers to say a utility for every λ, for the features `backbone:FOLDER`.

    python tools/tune_backbone.py MODEL --rollouts train.jsonl -o backbone
    dami-merge train pref grid --rollouts train.jsonl --features backbone:backbone

MODEL is a folder, a Hub id or a side of the bundled pair. What `train` then prints about questions that were
left out is too good, since the backbone has seen their answers: judge it on the rollouts of other questions.
"""

from pathlib import Path

import click

from dami_merge.estimators.fitting.backbone import BackboneOptions, fit_backbone
from dami_merge.estimators.pretrained import open_encoder_source
from dami_merge.use_cases.train import read_examples


@click.command()
@click.argument("model")
@click.option(
    "--rollouts", type=click.Path(path_type=Path), default=Path("rollouts.jsonl"), show_default=True
)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("backbone"), show_default=True)
@click.option("--epochs", type=click.IntRange(min=1), default=4, show_default=True, help="Most passes.")
@click.option("--rate", type=float, default=0.0, help="Learning rate.  [default: 5e-5; 5e-4 with LoRA]")
@click.option("--lora", type=click.IntRange(min=0), default=0, help="Rank of LoRA; 0 trains all weights.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", default="auto", show_default=True)
def main(
    model: str, rollouts: Path, output: Path, epochs: int, rate: float, lora: int, seed: int, device: str
) -> None:
    """Fine-tune MODEL on the preferences between λ of measured questions."""
    options = BackboneOptions(epochs=epochs, rate=rate, lora=lora)
    fit = fit_backbone(
        read_examples(rollouts), open_encoder_source(model), output, options, seed, device=device,
        progress=lambda epoch, loss: click.echo(f"pass {epoch}: held-out loss {loss:.4f}", err=True),
    )  # fmt: skip
    click.echo(f"{output}: pass {fit.chosen}, held-out loss {fit.losses[fit.chosen]:.4f} nats a pair")
    click.echo(f"the same utilities for every question would have {fit.unread:.4f}")


if __name__ == "__main__":
    main()
