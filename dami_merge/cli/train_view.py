"""What `dami-merge train` prints: what was learned, how far it goes, and what to do next."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dami_merge.estimators.declaration import LEARNED

if TYPE_CHECKING:
    from dami_merge.estimators.artefact import Trained
    from dami_merge.estimators.pairs import PairCounts


def trained_value(trained: "Trained", folder: Path) -> dict[str, object]:
    """A trained estimator as a JSON value."""
    return {
        "folder": str(folder),
        "kind": trained.fitted.kind,
        "features": trained.features_name,
        "goal": trained.goal,
        "setting": trained.setting,
        "origin": trained.origin,
        "settings": {name: value for name, value in trained.fitted.settings().items() if name != "names"},
        "static": {
            "lambdas": [float(lam) for lam in trained.fitted.lambdas],
            "accuracy": trained.tradeoff.static_accuracy.tolist(),
            "tokens": trained.tradeoff.static_tokens.tolist(),
        },
    }


def show_trained(trained: "Trained", grid: Path, folder: Path, pairs: "PairCounts | None" = None) -> None:
    """Print a trained estimator in a few lines."""
    table, setting, origin = trained.tradeoff, trained.setting, trained.origin
    shown = {n: v for n, v in trained.fitted.settings().items() if n not in {"names", "seed", "draws"}}
    options = ", ".join(f"{name} {_short(value)}" for name, value in shown.items())
    size_kb = (folder / LEARNED).stat().st_size / 1000
    click.echo(
        f"{trained.fitted.kind} on {trained.features_name}: {origin.queries:,} queries,"
        f" {origin.samples:,} answers at {len(trained.fitted.lambdas)} λ"
    )
    click.echo(f"options   {options}")
    if pairs is not None:
        click.echo(
            f"pairs     {pairs.by_accuracy:,} by accuracy, {pairs.by_tokens:,} by tokens;"
            f" {pairs.undecided:,} undecided, {pairs.dropped:,} dropped with {pairs.unanswered:,} queries"
            " that no λ answers"
        )
    if setting.accuracy is not None and setting.tokens is not None and setting.drop is not None:
        thinking = table.static_accuracy[-1]
        click.echo(
            f"left out  accuracy {setting.accuracy:.1%} at {setting.tokens:.1f} tokens; Thinking"
            f" {thinking:.1%} at {table.scale:.1f}: {setting.tokens / table.scale - 1:+.1%} tokens,"
            f" {-setting.drop:+.1%} ± {1.96 * (setting.drop_error or 0.0):.1%}"
        )
    click.echo(f"goal      μ = {setting.mu:.3g}, guard {setting.guard:g}: {setting.met}")
    click.echo(f"written   {folder} ({size_kb:,.0f} kB)")
    name = shlex.quote(str(folder))
    click.echo(f"next: dami-merge evaluate {shlex.quote(str(grid))} --estimator {name} --rollouts TEST.jsonl")


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
