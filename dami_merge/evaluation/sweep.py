"""A sweep: every question at every λ, K times, graded and appended to a rollouts file.

The caller passes the backend and the grader. Samples already in the file are skipped.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from dami_merge.errors import DamiMergeError
from dami_merge.evaluation.generation import Backend, Generation, Request, by_lambda
from dami_merge.evaluation.grading.grader import Grader
from dami_merge.evaluation.grading.thinking import split_thinking
from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.rollouts_file import RolloutsFile
from dami_merge.lambdas import fraction_text
from dami_merge.sampling import SamplingSettings

DURABLE_EVERY_S = 5.0
"""A power loss costs at most this much work; a killed process costs only the sample in progress."""


@dataclass(frozen=True, slots=True)
class SweepProgress:
    """Progress of a sweep at one λ.

    Attributes:
        lam: The λ.
        done: Samples at this λ that the file holds.
        of: Total number of samples at this λ.
        tokens: Tokens that this run generated at this λ.
        seconds: Time that this run spent at this λ.
        correct: Correct samples among the `graded` ones.
        graded: Samples that this run graded at this λ.
    """

    lam: Fraction
    done: int
    of: int
    tokens: int
    seconds: float
    correct: int
    graded: int

    def after(self, row: Rollout, generation: Generation, *, seconds: float) -> "SweepProgress":
        """Return the progress after one more sample.

        Args:
            row: The sample.
            generation: Its generation.
            seconds: Time since the previous sample, at any λ.
        """
        return SweepProgress(
            self.lam,
            self.done + 1,
            self.of,
            self.tokens + generation.tokens,
            self.seconds + seconds,
            self.correct + row.correct,
            self.graded + 1,
        )


def fill_rollouts(
    requests: Sequence[Request],
    backend: Backend,
    sampling: SamplingSettings,
    grader: Grader,
    file: RolloutsFile,
    *,
    on_progress: Callable[[SweepProgress], None] = lambda _: None,
) -> None:
    """Fill a rollouts file; samples already in the file are skipped.

    Args:
        requests: All samples that the file should hold, in working order; see `all_requests`.
        backend: Runs the models.
        sampling: Passed to the backend.
        grader: Grades what follows the thinking block.
        file: Rollouts file, opened with the same settings.
        on_progress: Called for each λ at the start, and after every sample; an exception that it raises ends
            the sweep without losing a line.

    Raises:
        DamiMergeError: Same as backend, grader and file; or the backend left a request unanswered.
    """
    states: dict[Fraction, SweepProgress] = {}
    pending = []
    for lam, wanted in by_lambda(requests).items():
        missing = [
            each for each in wanted if not file.holds(fraction_text(lam), each.question.id, each.sample)
        ]
        pending += missing
        states[lam] = SweepProgress(lam, len(wanted) - len(missing), len(wanted), 0, 0.0, 0, 0)
    for state in reversed(states.values()):  # the first λ comes last, so that a display keeps it
        on_progress(state)
    answered_s = durable_s = time.monotonic()
    for request, generation in backend.generate(pending, sampling) if pending else ():
        row = graded(request, generation, grader, settings=file.settings, sampling=sampling)
        file.append(row)
        now_s = time.monotonic()
        state = states[request.lam].after(row, generation, seconds=now_s - answered_s)
        states[request.lam], answered_s = state, now_s
        if now_s - durable_s > DURABLE_EVERY_S:
            file.make_durable()
            durable_s = now_s
        on_progress(state)
    unanswered = sum(state.of - state.done for state in states.values())
    if unanswered:
        raise DamiMergeError(
            f"the backend left {unanswered} of {len(pending)} requests unanswered",
            hint="run the same command again: it resumes, and every answer is kept",
        )


def graded(
    request: Request,
    generation: Generation,
    grader: Grader,
    *,
    settings: str,
    sampling: SamplingSettings,
) -> Rollout:
    """Return one line of the file: the answer after the thinking block, graded; a truncated answer is wrong.

    If the template opens the block for the model, an answer that ends by itself without closing the block is
    graded as it stands, since a merge near Instruct reasons and answers without marking a block.
    """
    cut = generation.finish == "length"
    # A server may send half of a character as "\ud800", which no file can hold.
    text = generation.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    split = split_thinking(text, prefilled=generation.prefilled, grade_open=generation.prefilled and not cut)
    grade = None if split.answer is None else grader.grade(request.question, split.answer)
    return Rollout(
        question=request.question.id,
        group=request.question.group,
        fraction=fraction_text(request.lam),
        sample=request.sample,
        text=text,
        tokens=sampling.max_tokens if cut else generation.tokens,
        finish=generation.finish,
        thinking=split.state,
        answer=None if grade is None else grade.answer,
        correct=grade is not None and grade.correct and not cut,
        seconds=round(generation.seconds, 4),
        settings=settings,
    )
