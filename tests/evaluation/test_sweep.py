"""A sweep over sums: complete, resumable, graded."""

import os
import random
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import pytest

from dami_merge.errors import DamiMergeError
from dami_merge.evaluation import sweep as sweeping
from dami_merge.evaluation.generation import Generation, Request, all_requests, by_lambda
from dami_merge.evaluation.grading.grader import Grader
from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.rollouts_file import open_rollouts, read_rollouts, settings_of
from dami_merge.evaluation.sweep import SweepProgress, fill_rollouts, graded
from dami_merge.sampling import SamplingSettings
from tests.evaluation.arithmetic import Calculator, sums

LAMBDAS = (Fraction(0), Fraction(1, 2), Fraction(1))
SAMPLING = SamplingSettings(max_tokens=25, seed=3)


class Stopped(Exception):
    """What a test raises in the middle of a sweep."""


def _swept(
    path: Path,
    backend: Calculator,
    *,
    questions: int = 6,
    lambdas: Sequence[Fraction] = LAMBDAS,
    sampling: SamplingSettings = SAMPLING,
    samples: int = 2,
    stop_after: int = 10**9,
) -> list[SweepProgress]:
    told: list[SweepProgress] = []

    def on_progress(progress: SweepProgress) -> None:
        told.append(progress)
        if sum(each.graded > 0 for each in told) >= stop_after:
            raise Stopped

    asked = sums(questions)
    with (
        Grader() as grader,
        open_rollouts(path, settings_of(backend.describe(), "default", sampling), asked) as file,
    ):
        requests = all_requests(asked, lambdas, samples)
        fill_rollouts(requests, backend, sampling, grader, file, on_progress=on_progress)
    return told


def _sorted(path: Path) -> list[Rollout]:
    return sorted(read_rollouts(path), key=lambda row: (row.lam, row.question, row.sample))


def test_every_question_is_asked_k_times_at_every_lambda(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    told = _swept(path, Calculator())
    rows = read_rollouts(path)
    assert {(row.lam, row.question, row.sample) for row in rows} == {
        (lam, question.id, sample) for lam in LAMBDAS for question in sums(6) for sample in range(2)
    }
    assert len(rows) == 36
    assert {row.group for row in rows} == {"even", "odd"}
    last = {each.lam: each for each in told}
    for lam, each in last.items():
        of_lam = [row for row in rows if row.lam == lam]
        assert (each.done, each.of, each.graded) == (12, 12, 12)
        assert each.correct == sum(row.correct for row in of_lam)
        assert each.tokens == sum(row.tokens for row in of_lam)


@pytest.mark.parametrize("stop_after", [1, 5, 12, 13, 20, 35])
def test_a_sweep_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path, stop_after: int) -> None:
    _swept(tmp_path / "whole.jsonl", Calculator())
    path = tmp_path / "r.jsonl"
    first, second = Calculator(), Calculator()
    with pytest.raises(Stopped):
        _swept(path, first, stop_after=stop_after)
    assert len(read_rollouts(path)) == stop_after
    _swept(path, second)
    assert _sorted(path) == _sorted(tmp_path / "whole.jsonl")
    assert len(second.asked) == 36 - stop_after


def test_more_samples_questions_and_lambdas_are_added_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    _swept(path, Calculator(), questions=3, lambdas=LAMBDAS[:1], samples=1, sampling=SamplingSettings())
    backend = Calculator()
    _swept(path, backend, questions=4, lambdas=LAMBDAS[:2], samples=2, sampling=SamplingSettings())
    assert len(read_rollouts(path)) == 16
    assert len(backend.asked) == 13
    again = Calculator()
    _swept(path, again, questions=4, lambdas=LAMBDAS[:2], samples=2, sampling=SamplingSettings())
    assert again.asked == []


def _graded(text: str, finish: str = "stop", *, prefilled: bool = False, tokens: int = 7) -> Rollout:
    generation = Generation(text, tokens, finish, 0.25, prefilled)  # type: ignore[arg-type]  # of a parameter
    with Grader() as grader:
        return graded(Request(sums(3)[2], LAMBDAS[1], 1), generation, grader, settings="s", sampling=SAMPLING)


@pytest.mark.parametrize(
    ("text", "finish", "prefilled", "state", "correct"),
    [
        ("5", "stop", False, "none", True),
        ("6", "stop", False, "none", False),
        ("<think>6</think>5", "stop", False, "closed", True),
        ("<think>5</think>6", "stop", False, "closed", False),
        ("<think>so it is 5", "stop", False, "unclosed", False),
        ("<think>6</thought>5", "stop", False, "wrong-tag", True),
        ("so</think>5", "stop", True, "closed", True),
        ("5", "stop", True, "unclosed", True),  # a template began the block, the model answered in the open
        ("5", "length", True, "unclosed", False),
        ("<think>so</think>5", "length", False, "closed", False),
    ],
)
def test_the_answer_after_the_block_counts_and_a_cut_one_never(
    text: str, finish: str, prefilled: bool, state: str, correct: bool
) -> None:
    row = _graded(text, finish, prefilled=prefilled)
    assert row.thinking == state
    assert row.correct is correct


def test_of_an_answer_that_was_cut_in_its_block_nothing_is_graded() -> None:
    assert _graded("so it is 5", "length", prefilled=True).answer is None
    assert _graded("so it is 5", prefilled=True).answer == "so it is 5"


def test_a_cut_answer_costs_the_cap() -> None:
    assert _graded("5", "length", tokens=24).tokens == SAMPLING.max_tokens
    assert _graded("5", tokens=7).tokens == 7
    assert _graded("5").seconds == 0.25


class Silent(Calculator):
    """Answers all requests but one."""

    def generate(
        self, requests: Sequence[Request], sampling: SamplingSettings
    ) -> Iterator[tuple[Request, Generation]]:
        return super().generate(requests[1:], sampling)


def test_a_backend_that_leaves_a_request_unanswered_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with pytest.raises(DamiMergeError, match=r"left 1 of 36 requests unanswered"):
        _swept(path, Silent())
    assert len(read_rollouts(path)) == 35


class Short(Calculator):
    """Is cut at half of the cap, as a server with a limit of its own does."""

    def _answer(self, chance: random.Random, lam: float, right: str, cap: int) -> Generation:
        return Generation(right, cap // 2, "length", 0.001)


def test_progress_tells_what_was_generated_and_the_file_what_it_costs(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    told = _swept(path, Short(), lambdas=LAMBDAS[:1])
    seconds = [each.seconds for each in told]
    assert seconds[0] == 0 < seconds[1] < seconds[-1]
    assert told[-1].tokens == 12 * (SAMPLING.max_tokens // 2)
    assert {row.tokens for row in read_rollouts(path)} == {SAMPLING.max_tokens}


@pytest.mark.parametrize(("every_s", "times"), [(-1.0, 36), (1e9, 0)])
def test_lines_are_made_durable_as_often_as_was_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every_s: float, times: int
) -> None:
    fsync = os.fsync
    synced: list[int] = []
    monkeypatch.setattr(sweeping, "DURABLE_EVERY_S", every_s)

    def counted(descriptor: int) -> None:
        synced.append(descriptor)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", counted)
    path = tmp_path / "r.jsonl"
    with (
        Grader() as grader,
        open_rollouts(path, settings_of({"kind": "calculator"}, "default", SAMPLING), sums(6)) as file,
    ):
        before = len(synced)
        fill_rollouts(all_requests(sums(6), LAMBDAS, 2), Calculator(), SAMPLING, grader, file)
        assert len(synced) - before == times
    assert len(synced) == before + times + 1  # and once at the end


def test_a_backend_may_mix_lambdas_and_each_has_its_own_progress(tmp_path: Path) -> None:
    class Mixed(Calculator):
        """Answers all λ in one batch."""

        def generate(
            self, requests: Sequence[Request], sampling: SamplingSettings
        ) -> Iterator[tuple[Request, Generation]]:
            return super().generate(random.Random(0).sample(requests, len(requests)), sampling)

    path = tmp_path / "r.jsonl"
    told = _swept(path, Mixed())
    _swept(tmp_path / "ordered.jsonl", Calculator())
    assert _sorted(path) == _sorted(tmp_path / "ordered.jsonl")
    assert [each.lam for each in told[:3]] == list(reversed(LAMBDAS))
    assert [each.graded for each in told[:3]] == [0, 0, 0]
    last = {each.lam: each for each in told}
    assert {lam: (each.done, each.of) for lam, each in last.items()} == dict.fromkeys(LAMBDAS, (12, 12))
    assert len({each.lam for each in told[3:15]}) == 3, "mixed"


def test_requests_go_by_lambda_in_the_order_in_which_each_first_comes() -> None:
    requests = all_requests(sums(2), (LAMBDAS[2], LAMBDAS[0]), 2)
    assert [(each.lam, each.question.id, each.sample) for each in requests] == [
        (lam, question, sample)
        for lam in (LAMBDAS[2], LAMBDAS[0])
        for question in ("q000", "q001")
        for sample in (0, 1)
    ]
    mixed = random.Random(1).sample(requests, len(requests))
    groups = by_lambda(mixed)
    assert next(iter(groups)) == mixed[0].lam
    assert [each for some in groups.values() for each in some] == sorted(
        mixed, key=lambda each: list(groups).index(each.lam)
    )
