"""The tables of an evaluation: every control has its column, and nothing is wider than 100 columns."""

from dataclasses import replace

import numpy as np
import pytest

from dami_merge.cli.evaluate_view import show_evaluation
from dami_merge.estimators.examples import Examples
from dami_merge.estimators.judge.contest import Contender, Say, Trial
from tests.estimators.world import world
from tests.report.test_evaluation import evaluation_of, knows


def learns(examples: Examples, seed: int) -> Say:
    """The kinds are known whatever is learned, so that shuffled labels win too."""
    del examples, seed
    return knows


def test_every_control_that_was_tried_has_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    test, paraphrased = world(60, 4, 0), world(60, 4, 1)
    cut = np.zeros_like(test.cut)
    cut[:, 4, 0] = True
    asked = tuple(replace(each, id=f"{each.id}-p") for each in paraphrased.questions)
    trial = Trial(
        replace(test, cut=cut), world(60, 4, 2), world(60, 4, 3), replace(paraphrased, questions=asked)
    )
    named = "/a/very/long/path/to/an/estimator"
    contenders = [Contender(named, (knows,), learns), Contender("twin", (knows,), control=True)]
    show_evaluation(evaluation_of(trial, contenders))
    tables, _, verdicts = capsys.readouterr().out.rpartition("\n\n")
    lines = tables.splitlines()
    assert [line for line in lines if len(line) > 100] == []
    (heading,) = (line for line in lines if "shuffled" in line)
    columns = [each.strip() for each in heading.split("  ") if each.strip()]
    assert columns == ["shuffled", "without cut", "held out", "its static λ", "same λ"]
    own = [line for line in lines if line.startswith("…/to/an/estimator")]
    assert len(own) == 4
    assert own[-1].endswith("100%")
    assert "refuted" in own[0]
    assert "control" in next(line for line in lines if line.startswith("twin"))
    assert verdicts.startswith(f"{named}: It is refuted: fitted on shuffled labels")
    assert "twin: " not in verdicts


def test_nothing_is_said_of_controls_that_were_not_tried(capsys: pytest.CaptureFixture[str]) -> None:
    show_evaluation(evaluation_of(Trial(world(60, 4, 0)), [Contender("alone", (knows,))]))
    out = capsys.readouterr().out
    assert "shuffled" not in out
    assert "held out" not in out
