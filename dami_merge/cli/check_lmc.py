"""`dami-merge check-lmc`: is the line between two models worth walking?"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dami_merge.cli.interrupt import interruptible
from dami_merge.cli.lmc_value import lmc_value, write_csv
from dami_merge.cli.lmc_view import show_lmc
from dami_merge.cli.output import counter, json_option, meter, refuse_unwritable, show_json
from dami_merge.errors import DamiMergeError, UsageError
from dami_merge.lambdas import DEFAULT_STEPS, even_grid

if TYPE_CHECKING:
    from collections.abc import Sequence
    from fractions import Fraction

    from dami_merge.checkpoint.folder import Checkpoint
    from dami_merge.connectivity.difference import DifferenceReport
    from dami_merge.connectivity.path import PathReport
    from dami_merge.connectivity.report import LmcReport
    from dami_merge.connectivity.sample import Sample
    from dami_merge.connectivity.texts import Text

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
    help="JSONL of texts to walk the path with, or `bundled`; without, only the weights are compared."
    " Needs the weights on this disk: a model of the Hub is downloaded.",
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
@click.option(
    "--sample",
    metavar="SHARE",
    help="A first look: read so much of every tensor, such as 5%, and say what that proves.",
)
@click.option(
    "--seed", type=click.IntRange(0), metavar="N", help="Which chunks --sample reads.  [default: 0]"
)
@click.option(
    "--download",
    is_flag=True,
    help="Keep the weights of Hub models in the Hub's cache; without, they are read and not kept.",
)
@click.option("--heat", is_flag=True, help="Print the cosine of every layer by every kind of module.")
@click.option("--tensors", is_flag=True, help="Print every tensor, not only layers and modules.")
@click.option("--csv", type=click.Path(path_type=Path), help="Write one line for every tensor.")
@click.option("--html", type=click.Path(path_type=Path), help="Write one self-contained page of all of it.")
@json_option
def check_lmc_command(  # noqa: PLR0913 - click hands over one argument per option
    *,
    models: tuple[str, ...],
    threshold: float,
    texts: str | None,
    steps: int | None,
    limit: int | None,
    device: str,
    difference: bool,
    diff: bool,
    sample: str | None,
    seed: int | None,
    download: bool,
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

    Models of the Hub are read by byte ranges at one commit, and their weights are not kept; --sample reads a
    few chunks of every tensor, and decides only what they prove at a confidence of 95%.

    Exits with 1 unless the weights are connected, and with --texts in one basin and the path smooth. Without
    models the bundled tiny pair is checked.
    """
    from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING
    from dami_merge.checkpoint.source import fetched, open_both

    if len(models) not in {0, 2}:
        raise UsageError(f"{len(models)} model(s) given", hint="give INSTRUCT and THINKING, or neither")
    if texts is None and (steps is not None or limit is not None):
        raise UsageError("--steps and --limit are for --texts", hint="add --texts FILE, or --texts bundled")
    if sample is None and seed is not None:
        raise UsageError("--seed is for --sample", hint="add --sample 5%")
    _refuse_outputs(csv, html)
    chosen = _sample(sample, seed or 0)
    route = None if texts is None else _route(texts, limit, steps or DEFAULT_STEPS)
    both = open_both(*(models or (BUNDLED_INSTRUCT, BUNDLED_THINKING)))
    if download or route is not None:
        both = fetched(both[0]), fetched(both[1])
    report = _compare(both, threshold, chosen)
    try:
        path = None if route is None else _walk(both, *route, device)
    except DamiMergeError:
        _write_files(csv, html, report, None, None)
        if not as_json:
            show_lmc(report, None, None, heat=heat, tensors=tensors, diff=diff)  # what was found is not lost
        raise
    examined = _examine(both) if difference else None
    _write_files(csv, html, report, path, examined)
    if as_json:
        show_json(lmc_value(report, path, examined))
    else:
        show_lmc(report, path, examined, heat=heat, tensors=tensors, diff=diff)
    if not report.connected or (path is not None and not (path.same_basin and path.smooth)):
        click.get_current_context().exit(1)


def _refuse_outputs(csv: Path | None, html: Path | None) -> None:
    """What could not be written is said before hours of work."""
    from dami_merge.report.page import plotting

    for file in (csv, html):
        refuse_unwritable(file)
    if csv is not None and html is not None and csv.resolve() == html.resolve():
        raise UsageError(f"--csv and --html both name {csv}", hint="name two files")
    if html is not None:
        plotting()


def _write_files(
    csv: Path | None,
    html: Path | None,
    report: "LmcReport",
    path: "PathReport | None",
    difference: "DifferenceReport | None",
) -> None:
    if csv is not None:
        write_csv(report, csv)
    if html is not None:
        from dami_merge.files import write_durable
        from dami_merge.report.lmc import lmc_page

        write_durable(html, lmc_page(report, path, difference).encode())
        click.echo(f"page written: {html}", err=True)


def _sample(share: str | None, seed: int) -> "Sample | None":
    if share is None:
        return None
    from dami_merge.connectivity.sample import Sample

    return Sample.parse(share, seed)


def _compare(both: "tuple[Checkpoint, Checkpoint]", threshold: float, sample: "Sample | None") -> "LmcReport":
    from dami_merge.connectivity.report import check_lmc, weight_bytes

    done = 0
    with meter(weight_bytes(*both, sample)) as show, interruptible() as safe_point:

        def on_bytes(count: int) -> None:
            nonlocal done
            done += count
            show(done, "check")
            safe_point()

        return check_lmc(*both, threshold=threshold, sample=sample, on_bytes=on_bytes)


def _examine(both: "tuple[Checkpoint, Checkpoint]") -> "DifferenceReport":
    from dami_merge.connectivity.difference import examine_difference

    return examine_difference(*both)


def _pinned(side: "Checkpoint") -> str:
    """A name that opens the very commit that was compared."""
    return f"{side.source_id}@{side.revision}" if side.revision else side.spec


def _route(texts: str, limit: int | None, steps: int) -> "tuple[Sequence[Text], tuple[Fraction, ...]]":
    """What to walk with, and over which λ: read before the weights, so that what is wrong is said at once."""
    from dami_merge.bundled import bundled_questions
    from dami_merge.connectivity.texts import read_texts

    file = bundled_questions() if texts == BUNDLED_TEXTS else Path(texts)
    return read_texts(file, limit=limit), even_grid(steps)


def _walk(
    both: "tuple[Checkpoint, Checkpoint]",
    texts: "Sequence[Text]",
    lambdas: "tuple[Fraction, ...]",
    device: str,
) -> "PathReport":
    from dami_merge.connectivity.path import walk_pair

    with counter("λ") as show:
        return walk_pair(_pinned(both[0]), _pinned(both[1]), texts, lambdas, device=device, on_point=show)
