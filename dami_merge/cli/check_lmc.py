"""`dami-merge check-lmc`: is the line between two models worth walking?"""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from dami_merge.cli.interrupt import interruptible
from dami_merge.cli.output import console, json_option, meter, show_json
from dami_merge.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from dami_merge.connectivity.report import GroupReport, LmcReport
    from dami_merge.tensors.similarity import Similarity

_MEANING = {
    "connected": "interpolation should work",
    "doubtful": "interpolation may fail: try a few λ before you build a grid",
    "not connected": "interpolation will most likely give garbage: is it one base?",
}


@click.command("check-lmc", short_help="Check a pair for mode connectivity.")
@click.argument("models", nargs=-1, metavar="[INSTRUCT THINKING]")
@click.option(
    "--threshold",
    type=click.FloatRange(-1, 1),
    default=0.99,
    show_default=True,
    help="Cosine from which a layer is connected.",
)
@click.option("--tensors", is_flag=True, help="Print every tensor, not only layers and modules.")
@json_option
def check_lmc(*, models: tuple[str, ...], threshold: float, tensors: bool, as_json: bool) -> None:
    """Compare two models layer by layer: cosine similarity, relative distance, norm ratio.

    The verdict goes by the matrices of the worst layer: connected from 0.99, doubtful from 0.95. Norms and
    biases are reported apart, since those of unrelated models are alike. Exits with 1 unless the pair is
    connected.

    Without arguments the bundled tiny pair is checked.
    """
    from dami_merge.checkpoint.source import BUNDLED_INSTRUCT, BUNDLED_THINKING, open_both

    if len(models) not in {0, 2}:
        raise UsageError(f"{len(models)} model(s) given", hint="give INSTRUCT and THINKING, or neither")
    instruct, thinking = models or (BUNDLED_INSTRUCT, BUNDLED_THINKING)
    left, right = open_both(instruct, thinking)
    from dami_merge.connectivity.report import check_lmc as check
    from dami_merge.connectivity.report import weight_bytes

    done = 0
    with meter(weight_bytes(left, right)) as show, interruptible() as safe_point:

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            show(done, "check")
            safe_point()

        report = check(left, right, threshold=threshold, on_bytes=on_bytes)
    if as_json:
        show_json({"connected": report.connected, **asdict(report)})
    else:
        _show(report, tensors=tensors)
    if not report.connected:
        click.get_current_context().exit(1)


def _show(report: "LmcReport", *, tensors: bool) -> None:
    out = console()
    out.print(_group_table("layer", (*report.layers, report.overall)))
    out.print()
    out.print(_group_table("module", report.modules))
    if tensors:
        out.print()
        out.print(_tensor_table(report))
    out.print()
    color = {"connected": "green", "doubtful": "yellow"}.get(report.verdict, "red")
    out.print(f"[{color} bold]{report.verdict}[/]: {_MEANING[report.verdict]}")
    out.print(
        f"worst layer {report.worst_layer}: cosine {report.worst_cosine:.6f},"
        f" {report.threshold:g} is asked for"
    )
    out.print(
        "cosine says whether the weights are close; it does not say whether the path between them is smooth",
        style="dim",
    )
    for note in report.notes:
        out.print(f"note: {note}", markup=False)
    for problem in report.refusals:
        out.print(f"`dami-merge grid` would refuse: {problem.message}", markup=False, style="yellow")


def _group_table(heading: str, groups: "tuple[GroupReport, ...]") -> "Table":
    table = _table(heading, "cosine", "distance", "norm ratio", "vectors' cosine")
    for group in groups:
        vectors = "" if group.vectors is None else f"{group.vectors.cosine:.6f}"
        table.add_row(group.name, *_cells(group.matrices), vectors)
    return table


def _tensor_table(report: "LmcReport") -> "Table":
    table = _table("tensor", "cosine", "distance", "norm ratio")
    for tensor in report.tensors:
        table.add_row(tensor.name, *_cells(tensor.similarity))
    return table


def _table(heading: str, *numbers: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column(heading, overflow="fold")
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True)
    return table


def _cells(similarity: "Similarity | None") -> tuple[str, str, str]:
    if similarity is None:
        return "", "", ""
    return (
        f"{similarity.cosine:.6f}",
        f"{similarity.relative_distance:.4g}",
        f"{similarity.norm_ratio:.4f}",
    )
