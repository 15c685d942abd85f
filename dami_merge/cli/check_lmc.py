"""`dami-merge check-lmc`: is the line between two models worth walking?"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dami_merge.cli.interrupt import interruptible
from dami_merge.cli.lmc_value import lmc_value, write_csv
from dami_merge.cli.lmc_view import show_lmc
from dami_merge.cli.output import counter, json_option, meter, refuse_unwritable, show_json
from dami_merge.errors import DamiMergeError, UsageError

if TYPE_CHECKING:
    from dami_merge.checkpoint.folder import Checkpoint
    from dami_merge.connectivity.difference import DifferenceReport
    from dami_merge.connectivity.path import PathReport
    from dami_merge.connectivity.report import LmcReport

BUNDLED_TEXTS = "bundled"


@click.command("check-lmc", short_help="Check a pair for mode connectivity.")
@click.argument("models", nargs=-1, metavar="[INSTRUCT THINKING]")
@click.option(
    "--threshold",
    type=click.FloatRange(-1, 1),
    default=0.99,
    show_default=True,
    help="Cosine from which a layer is connected.",
)
@click.option(
    "--texts",
    metavar="FILE",
    help="JSONL of texts to walk the path with, or `bundled`; without, only the weights are compared.",
)
@click.option(
    "--steps",
    type=click.IntRange(4),
    metavar="N",
    help="Walk over N+1 λ, five at least: fewer cannot tell a large step from a usual one.  [default: 10]",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Take N texts.  [default: all]")
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps; for --texts."
)
@click.option(
    "--difference",
    is_flag=True,
    help="Also whether the difference survives rounding, and of how few directions it is made (a sample).",
)
@click.option(
    "--diff", is_flag=True, help="Print how configs, sampling defaults, tokenizers and templates differ."
)
@click.option("--heat", is_flag=True, help="Print the cosine of every layer by every kind of module.")
@click.option("--tensors", is_flag=True, help="Print every tensor, not only layers and modules.")
@click.option("--csv", type=click.Path(path_type=Path), help="Write one line for every tensor.")
@click.option("--html", type=click.Path(path_type=Path), help="Write one self-contained page of all of it.")
@json_option
def check_lmc(  # noqa: PLR0913 - click hands over one argument per option
    *,
    models: tuple[str, ...],
    threshold: float,
    texts: str | None,
    steps: int | None,
    limit: int | None,
    device: str,
    difference: bool,
    diff: bool,
    heat: bool,
    tensors: bool,
    csv: Path | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Compare two models layer by layer, and with --texts walk the path between them.

    The first verdict goes by the matrices of the worst layer: connected from a cosine of 0.99, doubtful from
    0.95. Norms and biases are reported apart, since those of unrelated models are alike.

    Weights that are close need not behave: --texts measures the loss at every λ and how far the hidden states
    move at each step, and answers whether both models lie in one basin, whether the path is smooth, and
    whether the loss goes one way. It needs the extra `live`, and memory for three models.

    Exits with 1 unless the weights are connected, and with --texts in one basin and the path smooth. Without
    models the bundled tiny pair is checked.
    """
    from dami_merge.checkpoint.source import BUNDLED_INSTRUCT, BUNDLED_THINKING, open_both
    from dami_merge.report.page import plotting

    if len(models) not in {0, 2}:
        raise UsageError(f"{len(models)} model(s) given", hint="give INSTRUCT and THINKING, or neither")
    if texts is None and (steps is not None or limit is not None):
        raise UsageError("--steps and --limit are for --texts", hint="add --texts FILE, or --texts bundled")
    for file in (csv, html):
        refuse_unwritable(file)
    if html is not None:
        plotting()  # what is missing is said before hours of work
    instruct, thinking = models or (BUNDLED_INSTRUCT, BUNDLED_THINKING)
    both = open_both(instruct, thinking)
    report = _compare(both, threshold)
    try:
        path = None if texts is None else _walk((instruct, thinking), texts, steps or 10, limit, device)
    except DamiMergeError:
        if not as_json:
            show_lmc(report, None, None, heat=heat, tensors=tensors, diff=diff)  # what was found is not lost
        raise
    sample = _examine(both) if difference else None
    if csv is not None:
        write_csv(report, csv)
    if html is not None:
        _write_page(html, report, path, sample)
    if as_json:
        show_json(lmc_value(report, path, sample))
    else:
        show_lmc(report, path, sample, heat=heat, tensors=tensors, diff=diff)
    if not report.connected or (path is not None and not (path.same_basin and path.smooth)):
        click.get_current_context().exit(1)


def _compare(both: "tuple[Checkpoint, Checkpoint]", threshold: float) -> "LmcReport":
    from dami_merge.connectivity.report import check_lmc as check
    from dami_merge.connectivity.stream import weight_bytes

    done = 0
    with meter(weight_bytes(*both)) as show, interruptible() as safe_point:

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            show(done, "check")
            safe_point()

        return check(*both, threshold=threshold, on_bytes=on_bytes)


def _examine(both: "tuple[Checkpoint, Checkpoint]") -> "DifferenceReport":
    from dami_merge.connectivity.difference import examine_difference

    return examine_difference(*both)


def _write_page(
    html: Path, report: "LmcReport", path: "PathReport | None", sample: "DifferenceReport | None"
) -> None:
    from dami_merge.files import write_durable
    from dami_merge.report.lmc import lmc_page

    write_durable(html, lmc_page(report, path, sample).encode())
    click.echo(f"page written: {html}", err=True)


def _walk(names: tuple[str, str], texts: str, steps: int, limit: int | None, device: str) -> "PathReport":
    from dami_merge.checkpoint.source import bundled_questions
    from dami_merge.connectivity.path import walk_pair
    from dami_merge.connectivity.texts import read_texts
    from dami_merge.lambdas import even_grid

    chosen = read_texts(bundled_questions() if texts == BUNDLED_TEXTS else Path(texts), limit=limit)

    with counter("λ") as show:
        return walk_pair(*names, chosen, even_grid(steps), device=device, on_point=show)
