"""What `dami-merge check-lmc` prints: tables and answers, a JSON value, or a CSV file."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dami_merge.cli.output import console
from dami_merge.files import size_text

if TYPE_CHECKING:
    from rich.table import Table

    from dami_merge.connectivity.difference import DifferenceReport
    from dami_merge.connectivity.path import PathReport
    from dami_merge.connectivity.report import GroupReport, LmcReport
    from dami_merge.tensors.similarity import Similarity

_MEANING = {
    "connected": "interpolation should work",
    "doubtful": "interpolation may fail: try a few λ before you build a grid",
    "not connected": "interpolation will most likely give garbage: is it one base?",
    "undecided": "the sample is too small to tell: take a larger --sample",
}
_SHADES = (
    (0.9999, "·", "bright_green"),
    (0.999, "░", "green"),
    (0.99, "▒", "yellow"),
    (0.95, "▓", "dark_orange"),
)
"""From which cosine, as which character, in which colour; anything below is the last."""

_DARKEST = ("█", "red")
_COLUMNS = ("cosine", "distance", "norm ratio", "same sign", "identical")


def lmc_value(
    report: "LmcReport", path: "PathReport | None", difference: "DifferenceReport | None"
) -> dict[str, object]:
    """What was found, as JSON; `path` and `difference` are null where they were not asked for."""
    return {
        "connected": report.connected,
        **asdict(report),
        "path": None if path is None else _path_value(path),
        "difference": None if difference is None else _difference_value(difference),
    }


def _difference_value(difference: "DifferenceReport") -> dict[str, object]:
    from dami_merge.connectivity.difference import RANKS
    from dami_merge.grid.manifest import fraction_text

    return {
        "sampled_elements": difference.sampled_elements,
        "survival": [
            {"lambda": fraction_text(each.lam), "kept": each.kept, "noise": each.noise}
            for each in difference.survival
        ],
        "spectra": [
            {
                "tensor": each.tensor,
                "module": each.module,
                "shape": list(each.shape),
                "energy": {str(rank): share for rank, share in zip(RANKS, each.energy, strict=True)},
            }
            for each in difference.spectra
        ],
    }


def _path_value(path: "PathReport") -> dict[str, object]:
    from dami_merge.grid.manifest import fraction_text

    return {
        "texts": path.texts,
        "tokens": path.tokens,
        "points": [{"lambda": fraction_text(point.lam), "loss": point.loss} for point in path.points],
        "steps": [
            {
                "from": fraction_text(step.start),
                "to": fraction_text(step.stop),
                "cosine": list(step.cosine),
                "cka": list(step.cka),
            }
            for step in path.steps
        ],
        "barrier": path.barrier,
        "barrier_above_line": path.barrier_above_line,
        "barrier_lambda": fraction_text(path.barrier_lam),
        "abruptness": path.abruptness,
        "same_basin": path.same_basin,
        "smooth": path.smooth,
        "monotone": path.monotone,
    }


def write_csv(report: "LmcReport", path: Path) -> None:
    """Write one line for every tensor, with a heading."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        facts = list(asdict(report.tensors[0].similarity)) if report.tensors else []
        lines.writerow(["tensor", "layer", "module", "matrix", *facts])
        for tensor in report.tensors:
            values = asdict(tensor.similarity).values()
            lines.writerow([tensor.name, tensor.layer, tensor.module, int(tensor.matrix), *values])


def show_lmc(
    report: "LmcReport",
    path: "PathReport | None",
    difference: "DifferenceReport | None",
    *,
    heat: bool,
    tensors: bool,
) -> None:
    """Print what was found as tables on stdout."""
    out = console()
    out.print(_group_table("layer", (*report.layers, report.overall)))
    out.print()
    out.print(_group_table("module", report.modules))
    if heat:
        out.print()
        out.print(_heat_table(report))
    if tensors:
        out.print()
        out.print(_tensor_table(report))
    out.print()
    out.print(_strip(report))
    color = {"connected": "green", "doubtful": "yellow", "undecided": "yellow"}.get(report.verdict, "red")
    out.print(f"[{color} bold]{report.verdict}[/]: {_MEANING[report.verdict]}")
    out.print(
        f"worst layer {report.worst_layer}: cosine {report.worst_cosine:.6f},"
        f" {report.threshold:g} is asked for"
    )
    for line in (*_sample_lines(report), *_revision_lines(report)):
        out.print(line, markup=False)
    out.print()
    if difference is not None:
        out.print(_spectrum_table(difference))
        out.print()
        for line in _survival_lines(difference):
            out.print(line)
        out.print()
    if path is not None:
        out.print(_point_table(path))
        out.print()
    out.print(_answers(report, path))
    for note in report.notes:
        out.print(f"note: {note}", markup=False)
    for problem in report.refusals:
        out.print(f"`dami-merge grid` would refuse: {problem.message}", markup=False, style="yellow")


def _sample_lines(report: "LmcReport") -> list[str]:
    """What was read, what it proves, and what it cannot see."""
    sample = report.sample
    if sample is None:
        return []
    read, total = size_text(sample.read_bytes), size_text(sample.total_bytes)
    share = sample.read_bytes / max(sample.total_bytes, 1)
    if sample.read_bytes == sample.total_bytes:
        return [f"read {read}: the tensors are small, and the sample is all of them"]
    return [
        f"read {read} of {total} ({share:.1%}), seed {sample.seed}; all numbers are estimates",
        f"at {sample.confidence:.0%} confidence every layer's cosine is at least {sample.low:.6f},"
        f" and the worst at most {sample.high:.6f}",
        "a change confined to a few rows that no chunk hit is not seen; without --sample all is read",
    ]


def _revision_lines(report: "LmcReport") -> list[str]:
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


def _tensor_table(report: "LmcReport") -> "Table":
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
    """A character, so that it can be read without colour, and a colour."""
    return next(((mark, colour) for least, mark, colour in _SHADES if cosine >= least), _DARKEST)


def _strip(report: "LmcReport") -> str:
    """The matrices of every layer, a character each."""
    shades = [_shade(layer.matrices.cosine) for layer in report.layers if layer.matrices is not None]
    marks = "".join(f"[{colour}]{mark}[/]" for mark, colour in shades)
    legend = "  ".join(f"{mark} {least:g}" for least, mark, _ in _SHADES)
    return f"layers  {marks}  [dim]{legend}  {_DARKEST[0]} below[/]"


def _heat_table(report: "LmcReport") -> "Table":
    """Cosines of the matrices, layers by kinds of modules."""
    modules = list(dict.fromkeys(cell.module for cell in report.cells))
    table = _table("layer", *modules)
    found = {(cell.layer, cell.module): cell.similarity.cosine for cell in report.cells}
    for layer in dict.fromkeys(cell.layer for cell in report.cells):
        cosines = [found.get((layer, module)) for module in modules]
        table.add_row(layer, *("" if c is None else f"[{_shade(c)[1]}]{c:.4f}[/]" for c in cosines))
    return table


def _spectrum_table(difference: "DifferenceReport") -> "Table":
    from dami_merge.connectivity.difference import RANKS

    table = _table("difference of", *(f"rank {rank}" for rank in RANKS))
    for each in difference.spectra:
        table.add_row(each.tensor, *(f"{share:.1%}" for share in each.energy))
    return table


def _survival_lines(difference: "DifferenceReport") -> list[str]:
    from dami_merge.lambdas import label

    if not difference.survival:
        return ["no sampled element differs"]
    return [
        f"at λ = {label(each.lam)} rounding keeps {each.kept:.1%} of the difference"
        f" and adds {each.noise:.1%} of noise"
        for each in difference.survival
    ]


def _point_table(path: "PathReport") -> "Table":
    from dami_merge.lambdas import label

    table = _table("λ", "loss", "least cosine to the λ before", "least CKA")
    table.add_row(label(path.points[0].lam), f"{path.points[0].loss:.4f}", "", "")
    for point, step in zip(path.points[1:], path.steps, strict=True):
        table.add_row(
            label(point.lam), f"{point.loss:.4f}", f"{min(step.cosine):.6f}", f"{min(step.cka):.6f}"
        )
    return table


def _answers(report: "LmcReport", path: "PathReport | None") -> "Table":
    """The questions, which of them were answered, and how."""
    from rich.table import Table

    from dami_merge.lambdas import label

    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    close = "[yellow]unclear[/]" if report.verdict == "undecided" else _answer(holds=report.connected)
    table.add_row("close weights?", close, f"worst cosine {report.worst_cosine:.6f}")
    if path is None:
        for question in ("one basin?", "smooth path?", "one way?"):
            table.add_row(question, "[dim]not asked[/]", "[dim]--texts FILE asks it[/]")
        return table
    where = f" at λ = {label(path.barrier_lam)}" if path.barrier_above_line > 0 else ""
    table.add_row(
        "one basin?",
        _answer(holds=path.same_basin),
        f"the loss rises {max(path.barrier_above_line, 0):.3f} nats above the line between the ends{where}"
        f" ({path.barrier:.3f} above their mean)",
    )
    table.add_row(
        "smooth path?",
        _answer(holds=path.smooth),
        f"the largest step of the hidden states is {path.abruptness:.1f} times the usual one",
    )
    first, last = path.points[0].loss, path.points[-1].loss
    table.add_row("one way?", _answer(holds=path.monotone), f"loss {first:.3f} at λ = 0, {last:.3f} at λ = 1")
    return table


def _answer(*, holds: bool) -> str:
    return "[green]yes[/]" if holds else "[red]no[/]"
