"""`dami-merge check-lmc`: can two models be interpolated?"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING, bundled_questions
from dami_merge.cli.gathered import gathered
from dami_merge.cli.interrupt import interruptible
from dami_merge.cli.lmc_value import lmc_value, write_csv
from dami_merge.cli.lmc_view import LmcTables, show_lmc
from dami_merge.cli.output import counter, json_option, meter, refuse_unwritable, show_json
from dami_merge.errors import DamiMergeError, UsageError
from dami_merge.lambdas import DEFAULT_STEPS, even_grid
from dami_merge.optional import require_installed

if TYPE_CHECKING:
    from dami_merge.checkpoint.folder import Checkpoint
    from dami_merge.connectivity.check import Check, Walk
    from dami_merge.connectivity.sample import Sample

BUNDLED_TEXTS = "bundled"


@dataclass(frozen=True, slots=True)
class PathOptions:
    """Options for the walk along the path, as given on the command line."""

    texts: str | None
    steps: int | None
    limit: int | None
    answers: int | None
    device: str

    def walk(self) -> "Walk | None":
        """Read the texts before the weights; return None if no texts were given.

        Raises:
            UsageError: Options of the walk were given without texts.
            InputRefused: The texts cannot be read.
            DamiMergeError: transformers is not installed.
        """
        if self.texts is None:
            if any(option is not None for option in (self.steps, self.limit, self.answers)):
                hint = "add --texts FILE or --texts bundled"
                raise UsageError("--steps, --limit and --answers need --texts", hint=hint)
            return None
        require_installed("transformers", "--texts", extra="live")
        from dami_merge.connectivity.check import Walk
        from dami_merge.connectivity.texts import read_texts

        file = bundled_questions() if self.texts == BUNDLED_TEXTS else Path(self.texts)
        texts = read_texts(file, limit=self.limit)
        return Walk(texts, even_grid(self.steps or DEFAULT_STEPS), self.device, self.answers or 0)


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options for reading the weights, as given on the command line."""

    sample: str | None
    seed: int | None
    download: bool

    def chosen(self) -> "Sample | None":
        """Return the sample to read; None means all weights.

        Raises:
            UsageError: The share is invalid, or a seed was given without a sample.
        """
        if self.sample is None:
            if self.seed is not None:
                raise UsageError("--seed needs --sample", hint="add --sample 5%")
            return None
        from dami_merge.connectivity.sample import Sample

        return Sample.parse(self.sample, self.seed or 0)


@dataclass(frozen=True, slots=True)
class LmcFiles:
    """Files to write."""

    csv: Path | None
    html: Path | None

    def refuse(self) -> None:
        """Refuse files that cannot be written, before hours of work.

        Raises:
            UsageError: A file cannot be written, or both options name the same file.
            DamiMergeError: A page was requested, and the extra `report` is not installed.
        """
        for file in (self.csv, self.html):
            refuse_unwritable(file)
        if self.csv is not None and self.html is not None and self.csv.resolve() == self.html.resolve():
            raise UsageError(f"--csv and --html both name {self.csv}", hint="give two different files")
        if self.html is not None:
            from dami_merge.report.page import plotting

            plotting()

    def write(self, check: "Check") -> None:
        """Write the requested files."""
        if self.csv is not None:
            write_csv(check.weights, self.csv)
        if self.html is not None:
            from dami_merge.files import write_durable
            from dami_merge.report.lmc import lmc_page

            write_durable(self.html, lmc_page(check).encode())
            click.echo(f"page written: {self.html}", err=True)


@click.command("check-lmc", short_help="Check whether two models can be interpolated.")
@click.argument("models", nargs=-1, metavar="[INSTRUCT THINKING]")
@click.option(
    "--threshold",
    type=click.FloatRange(-1, 1),
    default=0.99,
    show_default=True,
    help="Lowest cosine at which a layer counts as connected.",
)
@click.option(
    "--texts",
    metavar="FILE",
    help="Also measure the path between the models on these texts: a JSONL file, or `bundled`."
    " Downloads the weights of Hub models.",
)
@click.option(
    "--steps",
    type=click.IntRange(4),
    metavar="N",
    help="Measure the path at N+1 evenly spaced λ; 5 λ are the fewest that show an unusually large step."
    "  [default: 10]",
)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Use only the first N texts.  [default: all]"
)
@click.option(
    "--answers",
    type=click.IntRange(1),
    metavar="N",
    help="Also write greedy answers of up to N tokens at every λ, for texts that have a prompt.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Device for --texts: auto, cpu, cuda, cuda:1 or mps.",
)
@click.option(
    "--difference",
    is_flag=True,
    help="Also examine a sample of the difference: how much survives rounding, and how few directions"
    " contain most of it.",
)
@click.option(
    "--diff",
    is_flag=True,
    help="Print how the configs, sampling defaults, tokenizers and chat templates differ.",
)
@click.option(
    "--sample",
    metavar="SHARE",
    help="Take a quick look: read only this share of every tensor, such as 5%, and report what it proves.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    metavar="N",
    help="Seed for the chunks that --sample reads.  [default: 0]",
)
@click.option(
    "--download",
    is_flag=True,
    help="Keep the weights of Hub models in the Hub cache. By default, they are streamed and not kept.",
)
@click.option(
    "--heat", is_flag=True, help="Print a heat map: the cosine of every kind of module in every layer."
)
@click.option("--tensors", is_flag=True, help="Print every tensor, not only layers and kinds of modules.")
@click.option(
    "--csv",
    type=click.Path(readable=False, path_type=Path),
    help="Write a CSV file with one line per tensor.",
)
@click.option(
    "--html",
    type=click.Path(readable=False, path_type=Path),
    help="Write all results as one self-contained HTML page.",
)
@json_option
@gathered(PathOptions, "path")
@gathered(ReadOptions, "read")
@gathered(LmcTables, "tables")
@gathered(LmcFiles, "files")
def check_lmc_command(  # noqa: PLR0913 - one argument per group of options
    *,
    models: tuple[str, ...],
    threshold: float,
    path: PathOptions,
    read: ReadOptions,
    difference: bool,
    tables: LmcTables,
    files: LmcFiles,
    as_json: bool,
) -> None:
    """Compare two models layer by layer and, with --texts, along the path between them.

    The verdict on the weights depends on the matrices of the worst layer: connected from a cosine of 0.99,
    doubtful from 0.95, not connected below. Norms and biases are reported separately, because they are alike
    even in unrelated models.

    Close weights do not guarantee that the models in between work. --texts measures the loss at every λ, how
    far the hidden states move at each step, and what the model itself begins to write, and answers four
    questions: do both models lie in one basin, is the path smooth, does the loss only rise or only fall, and
    is λ a dial or a switch? It needs the extra `live`, and memory for three models.

    Hub models are read by byte ranges at one commit, and their weights are not kept. --sample reads a few
    chunks of every tensor and decides only what they prove at 95% confidence.

    The exit code is 0 if the weights are connected and, with --texts, both models lie in one basin, the path
    is smooth and λ is not a switch; otherwise it is 1. Without models, the bundled tiny pair is checked.
    """
    if len(models) not in {0, 2}:
        raise UsageError(
            f"expected two models or none, got {len(models)}", hint="give INSTRUCT and THINKING, or neither"
        )
    files.refuse()
    sample, walk = read.chosen(), path.walk()
    from dami_merge.checkpoint.source import fetched, open_both

    both = open_both(*(models or (BUNDLED_INSTRUCT, BUNDLED_THINKING)))
    if read.download:
        both = fetched(both[0]), fetched(both[1])
    found: list[Check] = []
    try:
        check = _checked(both, threshold, sample, walk, difference=difference, found=found)
    except DamiMergeError:
        for partial in found:  # results from before the error are not lost
            files.write(partial)
            if not as_json:
                show_lmc(partial, tables)
        raise
    if not as_json:
        show_lmc(check, tables)  # before the files: a full disk must not hide the result
    files.write(check)
    if as_json:
        show_json(lmc_value(check))
    if not check.passes:
        click.get_current_context().exit(1)


def _checked(
    both: "tuple[Checkpoint, Checkpoint]",
    threshold: float,
    sample: "Sample | None",
    walk: "Walk | None",
    *,
    difference: bool,
    found: "list[Check]",
) -> "Check":
    """Run the check with progress on stderr; append the result for the weights to `found` once it exists."""
    from dami_merge.connectivity.check import Check, Watch, check_lmc
    from dami_merge.connectivity.report import WeightsReport

    with ExitStack() as reading, counter("λ") as on_point:
        show, safe_point = reading.enter_context(meter()), reading.enter_context(interruptible())

        def on_bytes(done: int, total: int) -> None:
            show(done, total, "check")
            safe_point()

        def on_weights(report: WeightsReport) -> None:
            reading.close()
            found.append(Check(report))

        watch = Watch(on_bytes=on_bytes, on_weights=on_weights, on_point=on_point)
        return check_lmc(
            *both, threshold=threshold, sample=sample, walk=walk, difference=difference, watch=watch
        )
