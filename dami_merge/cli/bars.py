"""Bars of one character: how far apart layers are, and which kinds of modules are in which of them.

The height of a bar is 1 - cosine, on a logarithmic scale from the closest to the farthest value shown:
layers look different even if all are close. The colour shows the limits of the verdict.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dami_merge.connectivity.limits import layer_limits, matrix_limits
from dami_merge.connectivity.naming import by_stack
from dami_merge.harmless import visible

if TYPE_CHECKING:
    from rich.text import Text

    from dami_merge.connectivity.report import TensorReport, WeightsReport

HEIGHTS = "▁▂▃▄▅▆▇█"

_LEAST_GAP = 1e-8
"""Values of 1 - cosine below this are drawn as equal."""

_EVEN = 1.1
"""Gaps within this factor are drawn as equal: their order is noise."""

_TICKS = 10
_TAIL = "  lowest -0.000000 in 00000"


def layer_bars(report: "WeightsReport", width: int) -> "Iterator[Text]":
    """Draw every layer as a bar, one line for each stack of layers, and a legend.

    Args:
        report: The comparison.
        width: Columns; longer stacks continue on further lines.
    """
    from rich.text import Text

    shown = {layer.name: layer.matrices.cosine for layer in report.layers if layer.matrices is not None}
    stacks = by_stack(shown)
    if not stacks:
        return
    scale = _Scale(
        [shown[name] for names in stacks.values() for name in names], layer_limits(report.threshold)
    )
    for stack, names in stacks.items():
        closest, farthest = (choose(names, key=lambda name: shown[name]) for choose in (max, min))
        yield Text(_heading(stack))
        for start, row in _rows(names, width - 8):
            yield Text.assemble(f"{start:>6}  ", *(scale.bar(shown[name]) for name in row))
        yield Text(
            f"        closest {_number(closest)}: {shown[closest]:.6f}, farthest {_number(farthest)}:"
            f" {shown[farthest]:.6f}",
            "dim",
        )
    yield Text("        each bar is a layer; the taller, the farther apart", "dim")
    yield Text(f"        {scale.legend}", "dim")


def heat_map(report: "WeightsReport", width: int) -> "Iterator[Text]":
    """Draw one bar for each kind of module in each layer. It shows the worst matrix, or the worst expert.

    Args:
        report: The comparison.
        width: Columns; longer stacks continue in further blocks.
    """
    from rich.text import Text

    worst = report.worst_in_cells
    layers = dict.fromkeys(each.layer for each in worst.values())
    stacks = by_stack(layers) or {"": list(layers)}
    members = {name for names in stacks.values() for name in names}
    cosines = [each.similarity.cosine for each in worst.values() if each.layer in members]
    scale = _Scale(cosines, matrix_limits(report.threshold))
    for stack, names in stacks.items():
        kinds = list(dict.fromkeys(kind for layer, kind in worst if layer in names))
        indent = max(len(visible(kind)) for kind in kinds)
        lowest = {kind: _lowest(worst, names, kind) for kind in kinds}
        tails = len(names) <= width - indent - 2 - len(_TAIL)
        yield Text(_heading(stack), "bold")
        for start, row in _rows(names, width - indent - 2):
            yield Text(" " * (indent + 2) + _ruler(start, len(row)), "dim")
            for kind in kinds:
                found = [worst.get((name, kind)) for name in row]
                bars = [scale.bar(each.similarity.cosine) if each else (" ", "") for each in found]
                least = lowest[kind]
                tail = f"  lowest {least.similarity.cosine:.6f} in {_number(least.layer)}" if tails else ""
                yield Text.assemble(f"{visible(kind):<{indent}}  ", *bars, (tail, "dim"))
        least = min(lowest.values(), key=lambda each: each.similarity.cosine)
        yield Text(f"lowest {least.similarity.cosine:.6f} in {visible(least.name)}", "dim")
        yield Text()
    yield Text("each bar is the worst matrix of a kind in a layer; the taller, the farther apart", "dim")
    yield Text(scale.legend, "dim")


def _heading(stack: str) -> str:
    return f"layers of {visible(stack)}" if stack else "layers"


class _Scale:
    """Turns cosines into bars."""

    def __init__(self, cosines: Sequence[float], limits: tuple[float, float]) -> None:
        self._limits = limits
        self._closest, self._farthest = max(cosines), min(cosines)
        self._low, self._high = (_log_gap(cosine) for cosine in (self._closest, self._farthest))

    def bar(self, cosine: float) -> tuple[str, str]:
        """Return a character and its style."""
        doubtful, connected = self._limits
        style = "green" if cosine >= connected else "yellow" if cosine >= doubtful else "red"
        span = self._high - self._low
        if span < math.log10(_EVEN):
            return HEIGHTS[0], style
        part = (_log_gap(cosine) - self._low) / span
        return HEIGHTS[round(part * (len(HEIGHTS) - 1))], style

    @property
    def legend(self) -> str:
        """What heights and colours mean."""
        _, limit = self._limits
        below = f"{'some' if self._farthest < limit else 'none'} below {limit:.10g}"
        if self._high - self._low < math.log10(_EVEN):
            return f"all are about as close: {self._closest:.6f} ({below})"
        ends = f"{HEIGHTS[0]} {self._closest:.6f}, {HEIGHTS[-1]} {self._farthest:.6f}"
        return f"{ends} ({below})"


def _log_gap(cosine: float) -> float:
    return math.log10(max(1 - cosine, _LEAST_GAP))


def _lowest(
    worst: "Mapping[tuple[str, str], TensorReport]", names: Iterable[str], kind: str
) -> "TensorReport":
    found = [worst[name, kind] for name in names if (name, kind) in worst]
    return min(found, key=lambda each: each.similarity.cosine)


def _number(layer: str) -> str:
    return visible(layer.rpartition(".")[2])


def _rows(names: Sequence[str], most: int) -> "Iterator[tuple[int, Sequence[str]]]":
    """Cut a stack into rows of a multiple of ten layers, with the place of the first."""
    size = max(_TICKS, most // _TICKS * _TICKS)
    for start in range(0, len(names), size):
        yield start, names[start : start + size]


def _ruler(start: int, count: int) -> str:
    """Number every tenth layer."""
    return "".join(f"{place:<{_TICKS}}" for place in range(start, start + count, _TICKS)).rstrip()
