"""A sweep for the kill tests: the calculator of the tests, with a pause before every answer."""

import sys
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from dami_merge.evaluation.generation import Generation, Request, all_requests
from dami_merge.evaluation.grading.grader import Grader
from dami_merge.evaluation.rollouts_file import open_rollouts, settings_of
from dami_merge.evaluation.sweep import fill_rollouts
from dami_merge.sampling import SamplingSettings
from tests.evaluation.arithmetic import Calculator, sums

LAMBDAS = tuple(Fraction(number, 4) for number in range(5))
QUESTIONS = sums(40)
SAMPLING = SamplingSettings(max_tokens=25)
SAMPLES = 2


class Slow(Calculator):
    """Takes a millisecond an answer, so that there is a middle to be killed in."""

    def generate(
        self, requests: Sequence[Request], sampling: SamplingSettings
    ) -> Iterator[tuple[Request, Generation]]:
        for answered in super().generate(requests, sampling):
            time.sleep(0.001)
            yield answered


def main(path: Path, pause_s: float) -> None:
    """Sweep; without a pause as fast as it goes."""
    backend = Slow() if pause_s else Calculator()
    settings = settings_of(backend.describe(), "default", SAMPLING)
    with Grader() as grader, open_rollouts(path, settings, QUESTIONS) as file:
        print("open", flush=True)
        fill_rollouts(all_requests(QUESTIONS, LAMBDAS, SAMPLES), backend, SAMPLING, grader, file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
