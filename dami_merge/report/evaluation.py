"""The page of `dami-merge evaluate`: verdicts, frontier, λ, calibration, curves of some queries, tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dami_merge.errors import InputRefused, Problem
from dami_merge.estimators.judge.evaluated import LearningPoint
from dami_merge.lambdas import label
from dami_merge.report.evaluation_figures import QUERY_PREFIX, evaluation_figures
from dami_merge.report.page import render

if TYPE_CHECKING:
    from dami_merge.estimators.judge.evaluated import EvaluationReport
    from dami_merge.estimators.judge.ruling import RulingKind

_TONES: "dict[RulingKind, str]" = {"beats": "good", "nothing": "warn", "worse": "bad", "refuted": "bad"}


def evaluation_page(report: "EvaluationReport", learning: Sequence[LearningPoint] = ()) -> str:
    """Render an evaluation as one self-contained HTML page.

    Args:
        report: What was found.
        learning: Learning curves, if there are any.

    Raises:
        DamiMergeError: The extra `report` is not installed.
    """
    figures = evaluation_figures(report, learning)
    return render(
        "evaluation.html",
        title="Estimators of λ on test questions",
        values={
            "report": report,
            "entrants": {each.name: each for each in report.entrants},
            "tones": _TONES,
            "queries": [each.name for each in figures if each.name.startswith(QUERY_PREFIX)],
            "label": label,
        },
        figures=figures,
    )


def read_learning(path: Path) -> tuple[LearningPoint, ...]:
    """Read learning curves.

    Raises:
        InputRefused: The file cannot be read or is malformed.
    """
    hint = "write it with `tools/experiments.py learning`"
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[LearningPoint, ...])
    except OSError as error:
        raise InputRefused([Problem("learning", f"{path}: {error.strerror}", hint)]) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputRefused([Problem("learning", f"{path}: {error}", hint)]) from error
