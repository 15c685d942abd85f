"""What `dami-merge evaluate` prints: the table, the field's metrics, the controls, a verdict on each row."""

from typing import TYPE_CHECKING

from dami_merge.cli.number_tables import named_table
from dami_merge.cli.output import console
from dami_merge.estimators.judge.dialled import UTILITY_PRICES
from dami_merge.evaluation.statistics.wording import token_count
from dami_merge.lambdas import label

if TYPE_CHECKING:
    from rich.table import Table

    from dami_merge.estimators.judge.contest import ContestRow
    from dami_merge.estimators.judge.evaluated import EvaluationReport
    from dami_merge.estimators.judge.judgement import Headroom
    from dami_merge.estimators.judge.metrics import CurveMetrics
    from dami_merge.estimators.judge.resampled import Figure95

_NAME = 17


def show_evaluation(report: "EvaluationReport") -> None:
    """Print everything within 100 columns."""
    out = console()
    out.print(
        f"{report.queries:,} test questions, {report.answers:,} answers at {len(report.lambdas)} λ;"
        f" {report.co_failures:.1%} of the questions are answered at no λ"
    )
    for table in (_main(report), _rivals(report), _dials(report), *_controls(report)):
        out.print()
        out.print(table, crop=False)
    out.print()
    for row in report.rows:
        if not row.control:
            out.print(f"{row.name}: {' '.join(row.ruling.sentences)}")


def _main(report: "EvaluationReport") -> "Table":
    table = named_table("", "accuracy", "tokens", "saved", "over the hull", "over Thinking", "ms", "verdict")
    for point in report.static:
        if point.lam in (report.lambdas[0], report.lambdas[-1]):
            table.add_row(
                f"λ = {label(point.lam)}", f"{point.accuracy.value:.1%}", token_count(point.tokens.value)
            )
    for row, entrant in zip(report.rows, report.entrants, strict=True):
        own = row.judgement
        table.add_row(
            _name(row), f"{own.accuracy.value:.1%}", token_count(own.tokens.value), f"{own.saved.value:.1%}",
            _gain(own.over_hull), _gain(own.over_thinking),
            "" if entrant.milliseconds is None else f"{entrant.milliseconds:.2f}",
            "control" if row.control else row.ruling.kind,
        )  # fmt: skip
    return table


def _rivals(report: "EvaluationReport") -> "Table":
    """Gains over what needs no estimator, shares of what can be won, and utilities at three prices."""
    prices = [f"μ {price:g}" for price in UTILITY_PRICES]
    table = named_table("", "random", "{0, 1}", "at equal accuracy", "of table", "of oracle", *prices)
    for row in report.rows:
        own = row.judgement
        equal = own.saved_at_equal_accuracy
        table.add_row(
            _name(row), f"{100 * own.over_random.value:+.1f}", f"{100 * own.over_ends.value:+.1f}",
            "" if equal is None else f"{equal.value:.1%} saved", _won(own.table), _won(own.oracle),
            *(f"{100 * each.over_static.value:+.1f}" for each in row.dialled.utilities),
        )  # fmt: skip
    return table


def _dials(report: "EvaluationReport") -> "Table":
    """Metrics of the whole dial, with the static λ in the first row, and how true predictions are."""
    table = named_table(
        "", "AUDC", "QNC", "APGR", "CPT50", "CPT80", "volume", "AUROC", "Brier", "ECE", "bits"
    )
    table.add_row("static λ", *_metrics(report.static_metrics))
    for row in report.rows:
        told = row.calibration
        table.add_row(
            _name(row), *_metrics(row.dialled.metrics), "" if row.auroc is None else f"{row.auroc.value:.3f}",
            "" if told is None else f"{told.brier:.3f}", "" if told is None else f"{told.ece:.3f}",
            f"{row.judgement.spread_bits:.2f}",
        )  # fmt: skip
    return table


def _metrics(found: "CurveMetrics") -> tuple[str, ...]:
    numbers = (found.audc, found.qnc, found.apgr, found.cpt50, found.cpt80, found.hypervolume)
    return tuple("never" if number is None else f"{number:.3f}" for number in numbers)


def _controls(report: "EvaluationReport") -> "list[Table]":
    """Gains over the hull where something was spoiled; no table if nothing was."""
    cells = {row.name: _control_cells(row) for row in report.rows}
    kept = [
        heading
        for heading in ("shuffled", "without cut", "held out", "its static λ",
                        "same λ")
        if any(heading in own for own in cells.values())
    ]  # fmt: skip
    if not kept:
        return []
    table = named_table("", *kept)
    for row in report.rows:
        table.add_row(_name(row), *(cells[row.name].get(heading, "") for heading in kept))
    return [table]


def _control_cells(row: "ContestRow") -> dict[str, str]:
    found = {}
    if row.shuffled is not None:
        found["shuffled"] = _gain(row.shuffled.gain)
    if row.uncut is not None:
        found["without cut"] = f"{100 * row.uncut.over_hull.value:+.1f}"
    if row.heldout is not None:
        found["held out"] = _gain(row.heldout.judgement.over_hull)
        found["its static λ"] = f"{100 * row.heldout.over_static.value:+.1f}"
    if row.paraphrased is not None:
        found["same λ"] = f"{row.paraphrased.same:.0%}"
    return found


def _name(row: "ContestRow") -> str:
    """The name of a row, with the end of one that is too long: the end of a path says most."""
    return row.name if len(row.name) <= _NAME else f"…{row.name[1 - _NAME :]}"


def _gain(figure: "Figure95") -> str:
    """A difference of accuracies in points, with its interval."""
    told = f"{100 * figure.value:+.1f}"
    if figure.interval is None:
        return told
    return f"{told} [{100 * figure.interval.low:+.1f}, {100 * figure.interval.high:+.1f}]"


def _won(share: "Headroom | None") -> str:
    return "" if share is None or share.won is None else f"{share.won.value:.0%}"
