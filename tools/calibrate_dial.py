"""Pairs by longer and by rank-limited fine-tuning: is λ a dial or a switch, by first tokens and by sampling?

Both models of a pair are fine-tuned from the middle of the bundled pair, on what the bundled pair was
fine-tuned on. For every pair, one line: the largest part of the change that lies within a tenth of λ by the
first tokens (`check-lmc --texts`), by the share of sampled answers that think and by their accuracy, and the
verdict. The limit `SWITCH` in `dami_merge/connectivity/dial.py` is set by these lines.

    python tools/calibrate_dial.py            # about five minutes on one thread
    python tools/calibrate_dial.py --pair 300x5e-4 --pair 200x5e-3r4 --seed 1
"""

import copy
import itertools
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import torch
from tiny_pair.measuring import measure_pair
from tiny_pair.mixture import ASKED_CELLS, INSTRUCT_STAGE, THINKING_STAGE
from tiny_pair.model import load_model
from tiny_pair.saving import save_model
from tiny_pair.splits import drawn_splits
from tiny_pair.training import train_stage
from torch import nn
from torch.nn.utils import parametrize
from transformers import LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from dami_merge.bundled import bundled_questions
from dami_merge.checkpoint.source import open_both
from dami_merge.connectivity.path import walk_pair
from dami_merge.connectivity.texts import read_texts
from dami_merge.connectivity.weights import compare_weights
from dami_merge.lambdas import even_grid

TINY = Path(__file__).resolve().parent.parent / "dami_merge" / "data" / "tiny"
PAIRS = ("36x3e-4", "120x3e-4", "300x5e-4", "600x1e-3", "200x5e-3r4", "300x1e-2r1")
NAME = re.compile(r"(?P<steps>\d+)x(?P<rate>[\d.e-]+?)(?:r(?P<rank>\d+))?")


class LowRank(nn.Module):
    """A matrix plus a trained difference of low rank, which begins at zero."""

    def __init__(self, weight: torch.Tensor, rank: int) -> None:
        """Begin at zero."""
        super().__init__()
        rows, columns = weight.shape
        self.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the matrix with its difference."""
        return weight + self.up @ self.down


def middle() -> LlamaForCausalLM:
    """Load the bundled pair's λ = 0.5."""
    model, thinking = (load_model(TINY / side) for side in ("instruct", "thinking"))
    with torch.no_grad():
        for left, right in zip(model.parameters(), thinking.parameters(), strict=True):
            left.copy_((left + right) / 2)
    return model


def train_pair(folder: Path, steps: int, rate: float, rank: int, seed: int) -> None:
    """Write both models, fine-tuned from the same middle; rank 0 trains all weights."""
    base = middle()
    for stage in (INSTRUCT_STAGE, THINKING_STAGE):
        torch.manual_seed(seed)
        model = copy.deepcopy(base)
        matrices = [m for name, m in model.named_modules() if isinstance(m, nn.Linear) and name != "lm_head"]
        if rank:
            differences = [LowRank(matrix.weight, rank) for matrix in matrices]
            for matrix, difference in zip(matrices, differences, strict=True):
                parametrize.register_parametrization(matrix, "weight", difference)
            trained = [each for difference in differences for each in difference.parameters()]
        else:
            trained = list(model.parameters())
        optimizer = torch.optim.AdamW(trained, betas=(0.9, 0.98), weight_decay=0.0 if rank else 0.01)
        longer = replace(stage, steps=steps, first_rate=rate, last_rate=rate)
        train_stage(model, optimizer, longer, seed, lambda line: click.echo(line, err=True))
        for matrix in matrices if rank else ():
            parametrize.remove_parametrizations(matrix, "weight")
        save_model(model, folder / stage.name)
        for file in (TINY / stage.name).glob("*"):
            if file.name not in {"model.safetensors", "README.md"}:
                shutil.copy(file, folder / stage.name)


def largest_part(values: Sequence[float]) -> float:
    """Return the largest step as a part of the whole change."""
    return max(abs(b - a) for a, b in itertools.pairwise(values)) / abs(values[-1] - values[0])


def line_of(name: str, folder: Path, questions: int, seed: int) -> str:
    """Measure a pair."""
    both = open_both(*(str(folder / side) for side in ("instruct", "thinking")))
    cosine = compare_weights(*both).worst_cosine
    path = walk_pair(*both, read_texts(bundled_questions()), even_grid(10), device="cpu")
    assert path.dial is not None
    asked = drawn_splits(0)["test"][: questions * len(ASKED_CELLS)]
    rows = measure_pair(folder, asked, 4, seed, lambda _: click.echo(".", nl=False, err=True))
    sampled = [row["sampled"] for row in rows["rows"]]
    thinks, accuracy = (largest_part([each[key] for each in sampled]) for key in ("thinks", "accuracy"))
    answers = " ".join("yes" if holds else "no" for holds in (path.same_basin, path.smooth))
    parts = f"{path.dial.steepest.part:.2f} | {thinks:.2f} | {accuracy:.2f}"
    return f"| {name} | {cosine:.4f} | {answers} | {parts} | {path.dial.kind} |"


@click.command(context_settings={"show_default": True})
@click.option("--pair", "pairs", multiple=True, default=PAIRS, help="Steps x rate, with rN for rank N.")
@click.option("--questions", default=7, help="Held-out questions per group.")
@click.option("--seed", default=0, help="Seed of training and sampling.")
def main(*, pairs: tuple[str, ...], questions: int, seed: int) -> None:
    """Print one line for the bundled pair and for every pair that is trained."""
    torch.set_num_threads(1)
    disable_progress_bar()  # type: ignore[no-untyped-call]  # untyped in transformers
    click.echo("| fine-tuning | cosine | basin, smooth | first tokens | thinking | accuracy | verdict |")
    click.echo("|---|---|---|---|---|---|---|")
    click.echo(line_of("bundled", TINY, questions, seed))
    for name in pairs:
        match = NAME.fullmatch(name)
        if match is None:
            raise click.BadParameter(f"{name} is not like 300x5e-4 or 200x5e-3r4")
        with tempfile.TemporaryDirectory() as folder:
            rank = int(match["rank"] or 0)
            train_pair(Path(folder), int(match["steps"]), float(match["rate"]), rank, seed)
            click.echo(line_of(name, Path(folder), questions, seed))


if __name__ == "__main__":
    main()
