"""Train the estimators that ship with the bundled pair, from nothing but the pair and its training questions.

    python tools/train_bundled_estimators.py       # into dami_merge/data/tiny/estimators

Builds the default grid, sweeps `bundled:train`, and trains `default` (curve on the text), `pref` and `conf`.
Run it again whenever the pair, its training questions, the features or the estimators change: an estimator
of other weights is refused when a router opens it. The same inputs give the same bytes.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from dami_merge import InProcess, Router, SweepRecipe, Training, build_grid, plan_grid, sweep, train_estimator
from dami_merge.estimators.artefact import Trained
from dami_merge.evaluation.questions.importers import read_questions
from dami_merge.grid.recipe import bundled_recipe

DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "dami_merge" / "data" / "tiny" / "estimators"

ESTIMATORS = {"default": Training("curve"), "pref": Training("pref"), "conf": Training("conf")}
"""What is trained under which name; every option is the default of `dami-merge train`."""

_TRIED = 50


@click.command(context_settings={"show_default": True})
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), default=DEFAULT_OUTPUT,
              help="Folder to write to.")  # fmt: skip
@click.option("--work", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for grid and rollouts, kept and resumed; a temporary one by default.")  # fmt: skip
@click.option("--samples", default=4, help="Answers per question and λ.")
@click.option("--limit", type=click.IntRange(min=20), help="Use only the first N questions.")
@click.option("--device", default="cpu", help="Where the models run; the shipped ones come from a CPU.")
@click.option("--only", multiple=True, type=click.Choice(list(ESTIMATORS)), help="Train only this one.")
def main(
    *, output: Path, work: Path | None, samples: int, limit: int | None, device: str, only: tuple[str, ...]
) -> None:
    """Write default, pref and conf."""
    with _folder(work) as place:
        grid, rollouts = place / "grid", place / "train.jsonl"
        if not (grid / "grid.json").exists():
            build_grid(plan_grid(bundled_recipe(), grid))
        asked = SweepRecipe(questions="bundled:train", samples=samples, limit=limit)
        report = sweep(grid, rollouts, asked, engine=InProcess(device=device))
        click.echo(f"swept {len(report.lambdas)} λ into {rollouts}")
        for name in only or ESTIMATORS:
            trained = train_estimator(ESTIMATORS[name], grid, rollouts, output / name)
            click.echo(_line(name, trained, output / name))
            _check(grid, output / name)


def _check(grid: Path, folder: Path) -> None:
    """Open what was written as a user does, and route some questions: nothing may fall back."""
    questions = read_questions("bundled:validation")[:_TRIED]
    queries = [question.messages[-1].content for question in questions]
    routes = Router.from_grid(grid, estimator=folder).route_batch(queries)
    failed = [route.error for route in routes if route.error]
    if failed:
        raise click.ClickException(f"{folder} fails on {len(failed)} of {len(routes)} queries: {failed[0]}")
    counts = {lam: sum(route.lam == lam for route in routes) for lam in sorted({r.lam for r in routes})}
    shown = ", ".join(f"{float(lam):.2f}: {count}" for lam, count in counts.items())
    click.echo(f"  λ of {len(routes)} validation questions: {shown}")


def _line(name: str, trained: Trained, folder: Path) -> str:
    size_kb = sum(each.stat().st_size for each in folder.iterdir()) / 1000
    setting, table = trained.setting, trained.tradeoff
    if setting.tokens is None or setting.accuracy is None or setting.drop is None:
        return f"{name}: {size_kb:,.0f} kB"
    return (
        f"{name}: {trained.fitted.kind} on {trained.features_name}, {trained.origin.queries:,} queries,"
        f" {size_kb:,.0f} kB; out of fold {setting.accuracy:.1%} at {setting.tokens:.1f} tokens"
        f" ({setting.tokens / table.scale - 1:+.1%}, {-setting.drop:+.2%} against Thinking): {setting.met}"
    )


@contextmanager
def _folder(work: Path | None) -> Iterator[Path]:
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        yield work
        return
    own = Path(tempfile.mkdtemp(prefix="bundled-estimators-"))
    try:
        yield own
    finally:
        shutil.rmtree(own)


if __name__ == "__main__":
    main()
