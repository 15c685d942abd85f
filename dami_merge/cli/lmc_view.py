"""What `dami-merge check-lmc` prints: tables, a strip of layers, and answers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dami_merge.cli.dial_view import answers_table, dial_table
from dami_merge.cli.output import console
from dami_merge.connectivity.advice import answers, next_steps
from dami_merge.connectivity.limits import matrix_limits
from dami_merge.connectivity.rounding_advice import meaning_of, rounding_fact
from dami_merge.connectivity.weights_advice import identical_fact
from dami_merge.errors import SHOWN_PROBLEMS
from dami_merge.files import size_text
from dami_merge.harmless import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from dami_merge.checkpoint.differences import PairDifferences
    from dami_merge.connectivity.check import Check
    from dami_merge.connectivity.difference import DifferenceReport
    from dami_merge.connectivity.path import PathReport
    from dami_merge.connectivity.report import GroupReport, WeightsReport
    from dami_merge.connectivity.rounding import RoundingReport
    from dami_merge.tensors.similarity import Similarity


@dataclass(frozen=True, slots=True)
class LmcTables:
    """Optional tables, printed in addition to those of layers and modules."""

    heat: bool = False
    tensors: bool = False
    diff: bool = False


_SHADES = (
    (0.9999, "·", "bright_green"),
    (0.999, "░", "green"),
    (0.99, "▒", "yellow"),
    (0.95, "▓", "dark_orange"),
)
"""Lowest cosine, character and colour of each shade; `_DARKEST` is for anything below."""

_DARKEST = ("█", "red")
_COLOURS = {"yes": "green", "no": "red", "unclear": "yellow", "not asked": "dim"}
_COLUMNS = ("cosine", "distance", "norm ratio", "same sign", "identical")


def show_lmc(check: "Check", tables: LmcTables) -> None:
    """Print the result as tables on stdout."""
    report, path, difference, rounding = check.weights, check.path, check.difference, check.rounding
    out = console()
    out.print(_group_table("layer", (*report.layers, report.overall)))
    out.print()
    out.print(_group_table("module", report.modules))
    if tables.heat:
        out.print()
        out.print(_heat_table(report))
    if tables.tensors:
        out.print()
        out.print(_tensor_table(report))
    out.print()
    out.print(_strip(report))
    for line in _verdict_lines(check):
        out.print(line)
    out.print()
    if difference is not None:
        out.print(_spectrum_table(difference))
        out.print()
    if rounding is not None and rounding.survival and (rounding.drowned or difference is not None):
        out.print(_survival_table(rounding))
        out.print()
    if tables.diff:
        for each in _difference_tables(report.differences):
            out.print(each)
        out.print()
    for part in () if path is None else _path_tables(path):
        out.print(part)
        out.print()
    out.print(_answer_table(check))
    for step in next_steps(check):
        out.print(f"next: {step}")
    for note in report.notes:
        out.print(f"note: {note}")
    for line in _refusal_lines(report):
        out.print(line, style="yellow")


def _refusal_lines(report: "WeightsReport") -> list[str]:
    """Say what `grid` would refuse and how it would go on; the others of many are counted."""
    shown = [
        f"`dami-merge grid` would refuse: {each.message}{f' ({each.hint})' if each.hint else ''}"
        for each in report.refusals[:SHOWN_PROBLEMS]
    ]
    more = len(report.refusals) - len(shown)
    return [*shown, f"… and {more} more (--json lists all {len(report.refusals)})"] if more else shown


def _verdict_lines(check: "Check") -> "list[str | Text]":
    from rich.text import Text

    report, rounding = check.weights, check.rounding
    eaten = rounding is not None and rounding.eaten
    color = {"connected": "green", "doubtful": "yellow", "undecided": "yellow"}.get(report.verdict, "red")
    color = "yellow" if eaten and report.connected else color
    lines: list[str | Text] = [
        Text.assemble((report.verdict, f"{color} bold"), f": {meaning_of(check)}"),
        f"worst layer {report.worst_layer}: cosine {report.worst_cosine:.6f}"
        f" (threshold {report.threshold:.10g})",
        f"worst matrix {report.worst_matrix}: cosine {report.worst_matrix_cosine:.6f}"
        f" (threshold {matrix_limits(report.threshold)[1]:.10g})",
    ]
    if report.identical_tensors:
        lines.append(identical_fact(report))
    if rounding is not None and rounding.drowned:
        lines.append(rounding_fact(rounding))
    return [*lines, *_sample_lines(report), *_revision_lines(report)]


def _sample_lines(report: "WeightsReport") -> list[str]:
    """Describe what was read, what it proves, and what it can miss."""
    sample = report.sample
    if sample is None:
        return []
    read, total = size_text(sample.read_bytes), size_text(sample.total_bytes)
    share = sample.read_bytes / max(sample.total_bytes, 1)
    if sample.read_bytes == sample.total_bytes:
        return [f"read {read}: the tensors are so small that the sample covers all of them"]
    return [
        f"read {read} of {total} ({share:.1%}), seed {sample.seed}; all numbers are estimates",
        f"at {sample.confidence:.0%} confidence, the worst cosine is between {sample.low:.6f}"
        f" and {sample.high:.6f}",
        "a sample can miss a change in a few rows; without --sample, all weights are read",
    ]


def _revision_lines(report: "WeightsReport") -> list[str]:
    sides = (
        (report.instruct, report.instruct_revision),
        (report.thinking, report.thinking_revision),
    )
    if not any(revision for _, revision in sides):
        return []
    names = [f"{name}@{revision}" if revision else name for name, revision in sides]
    return [f"compared {names[0]} with {names[1]}"]


def _group_table(heading: str, groups: "tuple[GroupReport, ...]") -> "Table":
    table = _table(heading, *_COLUMNS, "vectors' cosine")
    for group in groups:
        vectors = "" if group.vectors is None else f"{group.vectors.cosine:.6f}"
        table.add_row(group.name, *_cells(group.matrices), vectors)
    return table


def _tensor_table(report: "WeightsReport") -> "Table":
    table = _table("tensor", *_COLUMNS)
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


def _cells(similarity: "Similarity | None") -> tuple[str, ...]:
    if similarity is None:
        return ("",) * len(_COLUMNS)
    return (
        f"{similarity.cosine:.6f}",
        f"{similarity.relative_distance:.4g}",
        f"{similarity.norm_ratio:.4f}",
        f"{similarity.sign_agreement:.1%}",
        f"{similarity.identical:.1%}",
    )


def _shade(cosine: float) -> tuple[str, str]:
    """Return a character, which is readable without colour, and a colour."""
    return next(((mark, colour) for least, mark, colour in _SHADES if cosine >= least), _DARKEST)


def _strip(report: "WeightsReport") -> "Text":
    """Draw the matrices of every layer as one character."""
    from rich.text import Text

    shades = [_shade(layer.matrices.cosine) for layer in report.layers if layer.matrices is not None]
    legend = "  ".join(f"{mark} {least:g}" for least, mark, _ in _SHADES)
    return Text.assemble("layers  ", *shades, (f"  {legend}  {_DARKEST[0]} below", "dim"))


def _heat_table(report: "WeightsReport") -> "Table":
    """Tabulate the cosines of the matrices by layer and kind of module."""
    from rich.text import Text

    modules = list(dict.fromkeys(cell.module for cell in report.cells))
    table = _table("layer", *modules)
    found = {(cell.layer, cell.module): cell.similarity.cosine for cell in report.cells}
    for layer in dict.fromkeys(cell.layer for cell in report.cells):
        cosines = [found.get((layer, module)) for module in modules]
        table.add_row(layer, *("" if c is None else Text(f"{c:.4f}", _shade(c)[1]) for c in cosines))
    return table


def _spectrum_table(difference: "DifferenceReport") -> "Table":
    table = _table("energy of the difference", *(f"rank {rank}" for rank in difference.ranks))
    for each in difference.spectra:
        table.add_row(each.tensor, *(f"{share:.1%}" for share in each.energy))
    return table


def _survival_table(rounding: "RoundingReport") -> "Table":
    """Tabulate what rounding leaves of the difference at every λ."""
    from dami_merge.lambdas import label

    table = _table("λ", f"kept by {rounding.dtype}", "noise, as a share")
    for each in rounding.survival:
        table.add_row(label(each.lam), f"{each.kept:.1%}", f"{each.noise:.1%}")
    return table


def _point_table(path: "PathReport") -> "Table":
    from dami_merge.lambdas import label

    table = _table("λ", "loss", "lowest cosine to the previous λ", "lowest CKA")
    table.add_row(label(path.points[0].lam), f"{path.points[0].loss:.4f}", "", "")
    for point, step in zip(path.points[1:], path.steps, strict=True):
        table.add_row(
            label(point.lam), f"{point.loss:.4f}", f"{min(step.cosine):.6f}", f"{min(step.cka):.6f}"
        )
    return table


def _path_tables(path: "PathReport") -> "Iterator[Table | Group]":
    yield _point_table(path)
    if path.dial is not None:
        yield dial_table(path.dial)
        if path.dial.written:
            yield answers_table(path.dial)


def _answer_table(check: "Check") -> "Table":
    """Tabulate the questions, their answers, and what the answers rest on."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for answer in answers(check):
        fact = Text(visible(answer.fact), "dim" if answer.said == "not asked" else "")
        table.add_row(answer.question, Text(answer.said, _COLOURS[answer.said]), fact)
    return table


def _difference_tables(differences: "PairDifferences") -> "Iterator[Table | Text]":
    """Yield the differences in config and sampling, in the tokenizer, and a diff of the chat templates."""
    from rich.table import Table
    from rich.text import Text

    for file, fields in (("config.json", differences.config), ("generation_config", differences.generation)):
        if fields:
            table = Table(box=None, pad_edge=False)
            for heading in (file, "instruct", "thinking", "what it means"):
                table.add_column(heading, overflow="fold")
            for each in fields:
                values = (each.field, each.instruct, each.thinking, each.consequence)
                table.add_row(*(Text(visible(value)) for value in values))
            yield table
    for sentence in differences.tokenizer:
        yield Text(visible(f"tokenizer: {sentence}"))
    for line in differences.template:
        yield Text(visible(line), style={"+": "green", "-": "red", "@": "cyan"}.get(line[:1], ""))
    if not (differences.config or differences.generation or differences.tokenizer or differences.template):
        yield Text("config, sampling defaults, tokenizer and chat template are the same in both models")
