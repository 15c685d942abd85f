"""Runs of a grid that die; started as `python -m tests.grid.killed` by the tests of resuming.

Reads a JSON list from stdin, one run each: `{"folders": […], "output": …, "die_at": n, "lambdas": […]}`; the
default is three λ. A run is a forked child that kills itself with SIGKILL at its nth step, which is any
renaming, making or removing of a name, or any report of progress; without `die_at` it lives. Prints a JSON
list of `[exit status, steps]`.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import torch

from dami_merge.grid.build import build_grid
from tests.grid.grids import THREE, plan_of

STEPS = frozenset({"os.rename", "os.mkdir", "os.remove", "os.rmdir"})


def run(folders: tuple[Path, Path], output: Path, die_at: int, lambdas: Sequence[Fraction]) -> int:
    """Build a grid and die on the way; returns the number of steps if it lived."""
    plan = plan_of(folders, output, block_bytes=1 << 16, lambdas=tuple(lambdas))
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(event: str, _: tuple[object, ...]) -> None:
        if event in STEPS:
            step()

    sys.addaudithook(audit)
    build_grid(plan, device="cpu", on_progress=lambda _: step())
    return steps


def main() -> None:
    torch.set_num_threads(1)
    outcomes = []
    for job in json.load(sys.stdin):
        receive, send = os.pipe()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                folders = Path(job["folders"][0]), Path(job["folders"][1])
                lambdas = [Fraction(lam) for lam in job.get("lambdas", THREE)]
                steps = run(folders, Path(job["output"]), job.get("die_at", 0), lambdas)
                os.write(send, str(steps).encode())
                code = 0
            finally:
                os._exit(code)
        os.close(send)
        _, status = os.waitpid(child, 0)
        outcomes.append([os.waitstatus_to_exitcode(status), int(os.read(receive, 20) or 0)])
        os.close(receive)
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
