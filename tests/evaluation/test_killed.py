"""kill -9 at any moment of a sweep, again and again: no row is lost, doubled or half-written."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from dami_merge.evaluation.rollouts_file import read_rollouts
from tests.evaluation.killed import LAMBDAS, QUESTIONS, SAMPLES, main


def _rows(path: Path) -> dict[tuple[str, str, int], object]:
    rows = read_rollouts(path)
    found = {(row.fraction, row.question, row.sample): row for row in rows}
    assert len(found) == len(rows)
    return dict(found)


def test_a_sweep_killed_six_times_ends_as_one_that_was_never_killed(tmp_path: Path) -> None:
    main(tmp_path / "whole.jsonl", 0)
    whole = _rows(tmp_path / "whole.jsonl")
    assert len(whole) == len(LAMBDAS) * len(QUESTIONS) * SAMPLES
    path = tmp_path / "r.jsonl"
    chance = random.Random(0)
    held = 0
    for _ in range(6):
        command = [sys.executable, "-m", "tests.evaluation.killed", str(path), "1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
            assert run.stdout is not None
            assert run.stdout.readline() == "open\n"
            time.sleep(chance.uniform(0, 0.1))
            run.send_signal(signal.SIGKILL)
        rows = _rows(path)
        assert len(rows) >= held  # nothing that was there is gone
        assert all(whole[key] == row for key, row in rows.items())
        held = len(rows)
    assert 0 < held < len(whole)
    main(path, 0)
    assert _rows(path) == whole
