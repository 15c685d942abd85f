"""Tables of names and numbers that fit the screen without breaking a name: columns are left out instead."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from dami_merge.harmless import visible

if TYPE_CHECKING:
    from rich.table import Table

    from dami_merge.connectivity.report import GroupReport, WeightsReport
    from dami_merge.tensors.similarity import Similarity

_COLUMNS = ("cosine", "distance", "norm ratio", "same sign", "identical")
_VECTORS = "vectors' cosine"
_FIRST_OUT = ("identical", "same sign", "norm ratio", "distance", _VECTORS)
_BETWEEN = 2


def group_tables(report: "WeightsReport", width: int) -> "tuple[list[Table], tuple[str, ...]]":
    """Tabulate layers and kinds of modules.

    Returns:
        The two tables, and the columns that both leave out so that no name is broken.
    """
    groups = {"layer": (*report.layers, report.overall), "module": report.modules}
    names = [group.name for each in groups.values() for group in each]
    headings, left_out = _fitting((*_COLUMNS, _VECTORS), names, width)
    tables = []
    for heading, each in groups.items():
        table = named_table(heading, *headings)
        for group in each:
            cells = dict(zip((*_COLUMNS, _VECTORS), (*_cells(group.matrices), _vectors(group)), strict=True))
            table.add_row(group.name, *(cells[name] for name in headings))
        tables.append(table)
    return tables, left_out


def tensor_table(report: "WeightsReport", width: int) -> "Table":
    """Tabulate every tensor, with as many columns as fit."""
    headings, _ = _fitting(_COLUMNS, [tensor.name for tensor in report.tensors], width)
    table = named_table("tensor", *headings)
    for tensor in report.tensors:
        cells = dict(zip(_COLUMNS, _cells(tensor.similarity), strict=True))
        table.add_row(tensor.name, *(cells[name] for name in headings))
    return table


def named_table(heading: str, *numbers: str) -> "Table":
    """Return a table whose first column holds names, and the others numbers; print it with `crop=False`."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column(heading, no_wrap=True)
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True)
    return table


def _fitting(
    headings: Sequence[str], names: Iterable[str], width: int
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the headings that fit beside the longest name, and those left out; the first one stays."""
    longest = max((len(visible(name)) for name in names), default=0)
    kept = list(headings)
    for heading in _FIRST_OUT:
        if longest + sum(_BETWEEN + len(each) for each in kept) <= width:
            break
        if heading in kept:
            kept.remove(heading)
    return tuple(kept), tuple(each for each in headings if each not in kept)


def _vectors(group: "GroupReport") -> str:
    return "" if group.vectors is None else f"{group.vectors.cosine:.6f}"


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
