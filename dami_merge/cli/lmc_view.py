"""What `dami-merge check-lmc` prints: tables, a strip of layers, and answers."""

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dami_merge.cli.bars import heat_map, layer_bars
from dami_merge.cli.dial_view import answers_table, dial_table
from dami_merge.cli.number_tables import group_tables, named_table, tensor_table
from dami_merge.cli.output import console
from dami_merge.connectivity.advice import answers, next_steps
from dami_merge.connectivity.limits import matrix_limits
from dami_merge.connectivity.rounding_advice import meaning_of, rounding_fact
from dami_merge.connectivity.weights_advice import identical_fact
from dami_merge.errors import SHOWN_PROBLEMS
from dami_merge.files import size_text
from dami_merge.harmless import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

    from dami_merge.checkpoint.differences import PairDifferences
    from dami_merge.connectivity.check import Check
    from dami_merge.connectivity.difference import DifferenceReport
    from dami_merge.connectivity.path import PathReport
    from dami_merge.connectivity.report import WeightsReport
    from dami_merge.connectivity.rounding import RoundingReport


@dataclass(frozen=True, slots=True)
class LmcTables:
    """Optional tables, printed in addition to those of layers and modules."""

    heat: bool = False
    tensors: bool = False
    diff: bool = False


_COLOURS = {"yes": "green", "no": "red", "unclear": "yellow", "not asked": "dim"}


def show_lmc(check: "Check", tables: LmcTables) -> None:
    """Print the result as tables on stdout."""
    out = console()
    for section in _sections(check, tables, out.width):
        for each in section:
            out.print(each, crop=False)
        out.print()
    for answer in _answer_lines(check, out.width):
        out.print(answer, crop=False)
    notes = [f"note: {note}" for note in check.weights.notes]
    for line in [*(f"next: {step}" for step in next_steps(check)), *notes]:
        _print_wrapped(out, line)
    for line in _refusal_lines(check.weights):
        _print_wrapped(out, line, style="yellow")


def _sections(check: "Check", tables: LmcTables, width: int) -> "Iterator[Iterable[Table | Text | Group]]":
    """Yield what is printed above the answers, in parts with a blank line between."""
    report, path, difference, rounding = check.weights, check.path, check.difference, check.rounding
    groups, left_out = group_tables(report, width)
    yield from ([table] for table in groups)
    if left_out:
        yield _texts([f"left out for want of columns: {', '.join(left_out)} (--json has all)"])
    if tables.heat:
        yield heat_map(report, width)
    if tables.tensors:
        yield [tensor_table(report, width)]
    yield (*layer_bars(report, width), *_verdict_lines(check, width))
    if difference is not None:
        yield [_spectrum_table(difference)]
    if rounding is not None and rounding.survival and (rounding.drowned or difference is not None):
        yield [_survival_table(rounding)]
    if tables.diff:
        yield _difference_tables(report.differences)
    if path is not None:
        yield from ([each] for each in _path_tables(path))


def _print_wrapped(out: "Console", text: str, style: str = "") -> None:
    for line in wrapped(text, out.width):
        out.print(line, style=style, crop=False, no_wrap=True, overflow="ignore")


def _refusal_lines(report: "WeightsReport") -> list[str]:
    """Say what `grid` would refuse and how it would go on; the others of many are counted."""
    shown = [
        f"`dami-merge grid` would refuse: {each.message}{f' ({each.hint})' if each.hint else ''}"
        for each in report.refusals[:SHOWN_PROBLEMS]
    ]
    more = len(report.refusals) - len(shown)
    return [*shown, f"… and {more} more (--json lists all {len(report.refusals)})"] if more else shown


def _verdict_lines(check: "Check", width: int) -> "list[Text]":
    from rich.text import Text

    report, rounding = check.weights, check.rounding
    eaten = rounding is not None and rounding.eaten
    color = {"connected": "green", "doubtful": "yellow", "undecided": "yellow"}.get(report.verdict, "red")
    color = "yellow" if eaten and report.connected else color
    lines = [
        f"worst layer {report.worst_layer}: cosine {report.worst_cosine:.6f}"
        f" (threshold {report.threshold:.10g})",
        f"worst matrix {report.worst_matrix}: cosine {report.worst_matrix_cosine:.6f}"
        f" (threshold {matrix_limits(report.threshold)[1]:.10g})",
    ]
    if report.identical_tensors:
        lines.append(identical_fact(report))
    if rounding is not None and rounding.drowned:
        lines.append(rounding_fact(rounding))
    lines += [*_sample_lines(report), *_revision_lines(report)]
    verdict = Text.assemble((report.verdict, f"{color} bold"), f": {meaning_of(check)}")
    return [verdict, *_texts(part for line in lines for part in wrapped(line, width))]


def _texts(lines: "Iterable[str]") -> "list[Text]":
    from rich.text import Text

    return [Text(line, no_wrap=True, overflow="ignore") for line in lines]


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


def _spectrum_table(difference: "DifferenceReport") -> "Table":
    table = named_table("energy of the difference", *(f"rank {rank}" for rank in difference.ranks))
    for each in difference.spectra:
        table.add_row(each.tensor, *(f"{share:.1%}" for share in each.energy))
    return table


def _survival_table(rounding: "RoundingReport") -> "Table":
    """Tabulate what rounding leaves of the difference at every λ."""
    from dami_merge.lambdas import label

    table = named_table("λ", f"kept by {rounding.dtype}", "noise, as a share")
    for each in rounding.survival:
        table.add_row(label(each.lam), f"{each.kept:.1%}", f"{each.noise:.1%}")
    return table


def _point_table(path: "PathReport") -> "Table":
    from dami_merge.lambdas import label

    table = named_table("λ", "loss", "lowest cosine to the previous λ", "lowest CKA")
    table.add_row(label(path.points[0].lam), f"{path.points[0].loss:.4f}", "", "")
    for point, step in zip(path.points[1:], path.steps, strict=True):
        table.add_row(
            label(point.lam), f"{point.loss:.4f}", f"{min(step.cosine):.6f}", f"{min(step.cka):.6f}"
        )
    return table


def _answer_lines(check: "Check", width: int) -> "Iterator[Text]":
    """Yield the questions, their answers, and what the answers rest on; below them if there is no room."""
    from rich.text import Text

    found = answers(check)
    question, said = (
        max(map(len, column)) + 2 for column in zip(*((a.question, a.said) for a in found), strict=True)
    )
    for answer in found:
        style = "dim" if answer.said == "not asked" else ""
        head, colour = f"{answer.question:<{question}}", _COLOURS[answer.said]
        if question + said + len(visible(answer.fact)) <= width:
            yield Text.assemble(head, (f"{answer.said:<{said}}", colour), (visible(answer.fact), style))
            continue
        yield Text.assemble(head, (answer.said, colour))
        for line in wrapped(answer.fact, width - 4):
            yield Text(f"    {line}", style)


def wrapped(text: str, width: int) -> list[str]:
    """Break a text between words only, so that names stay whole."""
    return textwrap.wrap(visible(text), max(width, 20), break_long_words=False, break_on_hyphens=False)


def _path_tables(path: "PathReport") -> "Iterator[Table | Group]":
    yield _point_table(path)
    if path.dial is not None:
        yield dial_table(path.dial)
        if path.dial.written:
            yield answers_table(path.dial)


def _difference_tables(differences: "PairDifferences") -> "Iterator[Table | Text]":
    """Yield the differences in config and sampling, in the tokenizer, and a diff of the chat templates."""
    from rich.table import Table
    from rich.text import Text

    for file, fields in (("config.json", differences.config), ("generation_config", differences.generation)):
        if fields:
            table = Table(box=None, pad_edge=False)
            for heading in (file, "instruct", "thinking", "what it means"):
                table.add_column(heading, overflow="fold", no_wrap=heading == file)
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
