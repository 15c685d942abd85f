"""Walking from one model to the other: a good pair, the same model twice, and a twin in another basin."""

import itertools
import time
from copy import deepcopy
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING, bundled_questions
from dami_merge.checkpoint.source import open_source
from dami_merge.connectivity import encoding, predictions
from dami_merge.connectivity.check import check_lmc
from dami_merge.connectivity.encoding import encode_texts
from dami_merge.connectivity.path import PathPoint, PathReport, PathStep, walk
from dami_merge.connectivity.predictions import linear_cka
from dami_merge.connectivity.texts import PathSettings, Text, read_texts
from dami_merge.errors import InputRefused, UsageError
from dami_merge.lambdas import even_grid
from dami_merge.live import load_live
from tests.pairs import walked
from tests.twins import permuted_twin

TEXTS = read_texts(bundled_questions(), limit=60)
TENTHS = even_grid(10)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(open_source(BUNDLED_THINKING).root)


@pytest.fixture(scope="module")
def bundled() -> PathReport:
    return walked(BUNDLED_INSTRUCT, BUNDLED_THINKING, TEXTS, TENTHS)


def test_the_bundled_pair_lies_in_one_basin_on_a_smooth_way_in_one_direction(bundled: PathReport) -> None:
    assert [point.lam for point in bundled.points] == list(TENTHS)
    assert [(step.start, step.stop) for step in bundled.steps] == list(itertools.pairwise(TENTHS))
    assert (bundled.same_basin, bundled.smooth, bundled.monotone) == (True, True, True)
    assert bundled.texts == len(TEXTS)
    assert bundled.barrier_above_line <= 0
    ends = bundled.points[0].loss, bundled.points[-1].loss
    assert bundled.barrier == pytest.approx(ends[1] - sum(ends) / 2), (
        "not zero, although nothing is in the way"
    )
    assert all(len(step.cosine) == len(step.cka) == 5 for step in bundled.steps), "embeddings and four layers"
    assert all(0.99 < value < 1 for step in bundled.steps for value in (*step.cosine, *step.cka))


@pytest.mark.parametrize("end", [0, -1])
def test_the_loss_at_an_end_is_that_of_the_endpoint_itself(
    end: int, bundled: PathReport, tokenizer: Any
) -> None:
    """Computed one text at a time by the library, from the endpoint's own folder."""
    root = open_source((BUNDLED_INSTRUCT, BUNDLED_THINKING)[end]).root
    model = AutoModelForCausalLM.from_pretrained(root)
    total = count = 0.0
    for text in TEXTS:
        turn = [{"role": "user", "content": text.prompt}]
        prompt = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        answer = tokenizer(text.scored, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([before + answer])
        labels = torch.tensor([[-100] * len(before) + answer])
        with torch.no_grad():
            total += float(model(input_ids=ids, labels=labels).loss) * len(answer)
        count += len(answer)
    assert bundled.tokens == count
    assert bundled.points[end].loss == pytest.approx(total / count, rel=1e-4)


def test_a_twin_with_its_neurons_in_another_order_lies_in_another_basin(tmp_path: Path) -> None:
    """The same function at both ends, and no model between them: weights and loss both tell it."""
    twin = permuted_twin(tmp_path / "twin")
    report = walked(BUNDLED_INSTRUCT, str(twin), TEXTS, TENTHS)
    assert report.points[0].loss == pytest.approx(report.points[-1].loss, rel=0.01)
    assert not report.same_basin
    assert not report.monotone
    assert report.barrier_above_line > 1
    assert Fraction(3, 10) <= report.barrier_lam <= Fraction(7, 10)
    assert report.barrier == pytest.approx(report.barrier_above_line, abs=0.02), "equal ends: one definition"


def test_a_model_and_itself_are_one_point() -> None:
    report = walked(BUNDLED_INSTRUCT, BUNDLED_INSTRUCT, TEXTS[:5], even_grid(2))
    assert len({point.loss for point in report.points}) == 1
    assert report.barrier == pytest.approx(0, abs=1e-12)
    assert report.abruptness == 1
    assert (report.same_basin, report.smooth, report.monotone) == (True, True, True)


def test_padding_and_batches_change_nothing(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, live = load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu", dtype="float32")
    texts = [TEXTS[0], Text("", "1+2=3"), Text("7a-3b", ""), *TEXTS[1:9]]
    monkeypatch.setattr(predictions, "SAMPLED_TOKENS", 20)
    found = []
    for limit in (4096, 40, 1):
        monkeypatch.setattr(encoding, "_BATCH_TOKENS", limit)
        found.append(walk(model, live, tokenizer, texts, even_grid(2)))
    for other in found[1:]:
        assert other.tokens == found[0].tokens
        for here, there in zip(found[0].points, other.points, strict=True):
            assert there.loss == pytest.approx(here.loss, rel=1e-5)
        for before, after in zip(found[0].steps, other.steps, strict=True):
            assert after.cosine == pytest.approx(before.cosine, rel=1e-6), "the same positions are sampled"
            assert after.cka == pytest.approx(before.cka, rel=1e-5)


def test_a_plain_text_is_scored_from_its_second_token_and_cut_where_asked(tokenizer: Any) -> None:
    model, live = load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu")
    length = len(tokenizer("1+2+3")["input_ids"])
    plain = [Text("", "1+2+3")]
    assert walk(model, live, tokenizer, plain, even_grid(1)).tokens == length - 1
    assert walk(model, live, tokenizer, plain, even_grid(1), settings=PathSettings(max_tokens=3)).tokens == 2
    with pytest.raises(InputRefused, match="contain no token to score"):
        walk(model, live, tokenizer, plain, even_grid(1), settings=PathSettings(max_tokens=1))


@pytest.mark.parametrize("lambdas", [[], ["0", "1/2"], ["1/2", "1"], ["1", "0"], ["0", "1/2", "1/2", "1"]])
def test_a_path_without_both_ends_in_order_is_refused(lambdas: list[str], tokenizer: Any) -> None:
    model, live = load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu")
    with pytest.raises(InputRefused, match="the λ of a path must ascend from 0 to 1, both included"):
        walk(model, live, tokenizer, TEXTS[:1], [Fraction(lam) for lam in lambdas])


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ 'a' * 10**10 }}", "the chat template needs more than 1 GiB of memory"),
        ("{% include 'x' %}", "the chat template rejects the prompt: no loader"),
    ],
)
def test_a_template_that_does_harm_is_refused(tokenizer: Any, template: str, words: str) -> None:
    harmful = deepcopy(tokenizer)
    harmful.chat_template = template
    with pytest.raises(InputRefused, match=words):
        encode_texts(harmful, [Text("1 + 1", "2")], 8)


@pytest.mark.parametrize("text", [Text("", "half \ud83d"), Text("half \ud83d", "4"), Text("1", "\ud83d")])
def test_a_lone_surrogate_is_refused(tokenizer: Any, text: Text) -> None:
    with pytest.raises(InputRefused, match="a text holds a lone surrogate"):
        encode_texts(tokenizer, [text], 8)


def test_the_end_of_an_endless_text_is_not_encoded_and_changes_nothing(tokenizer: Any) -> None:
    long, endless = "12+34=" * 5000, "12+34=" * 700_000
    began_s = time.process_time()
    for short_text, text in ((Text("", long), Text("", endless)), (Text(long, "4"), Text(endless, "4"))):
        assert encode_texts(tokenizer, [text], 64) == encode_texts(tokenizer, [short_text], 64)
    assert time.process_time() - began_s < 5


def test_a_prompt_without_a_chat_template_is_refused(tokenizer: Any) -> None:
    model, live = load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu")
    bare = AutoTokenizer.from_pretrained(open_source(BUNDLED_THINKING).root)
    bare.chat_template = None
    with pytest.raises(InputRefused, match="has no chat template"):
        walk(model, live, bare, TEXTS[:1], even_grid(1))


def test_progress_is_told_for_every_lambda(tokenizer: Any) -> None:
    model, live = load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu")
    seen: list[tuple[int, int]] = []
    walk(model, live, tokenizer, TEXTS[:2], even_grid(2), on_point=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def reported(cosines: list[float], losses: list[float]) -> PathReport:
    lambdas = even_grid(len(cosines))
    steps = [
        PathStep(a, b, (1.0, c), (1.0, 1.0))
        for (a, b), c in zip(itertools.pairwise(lambdas), cosines, strict=True)
    ]
    points = [PathPoint(lam, loss) for lam, loss in zip(lambdas, losses, strict=True)]
    return PathReport(1, 1, tuple(points), tuple(steps), 0.0, 0.0, Fraction(0))


def test_one_abrupt_step_among_small_ones_is_not_smooth() -> None:
    """A mode switch between two λ, as has been seen with cosines of the weights above 0.999."""
    report = reported([0.999, 0.999, 0.98, 0.999], [1, 2, 3, 4, 5])
    assert report.abruptness == pytest.approx(20)
    assert not report.smooth
    assert reported([0.98, 0.98, 0.97, 0.98], [1, 2, 3, 4, 5]).smooth


@pytest.mark.parametrize(
    ("losses", "one_way"), [([1, 2, 3], True), ([3, 2, 1], True), ([1, 1, 1], True), ([1, 3, 2], False)]
)
def test_a_loss_that_turns_back_is_not_monotone(losses: list[float], one_way: bool) -> None:
    assert reported([0.99, 0.99], losses).monotone is one_way


def test_cka_is_that_of_its_definition_and_sees_neither_rotation_nor_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(40, 7, generator=generator, dtype=torch.float64)
    right = left[:, :5] + 0.3 * torch.randn(40, 5, generator=generator, dtype=torch.float64)
    x, y = left - left.mean(0), right - right.mean(0)
    norm = torch.linalg.matrix_norm
    want = float(norm(y.T @ x) ** 2 / (norm(x.T @ x) * norm(y.T @ y)))
    assert linear_cka(left, right) == pytest.approx(want, rel=1e-12)
    rotation, _ = torch.linalg.qr(torch.randn(7, 7, generator=generator, dtype=torch.float64))
    assert linear_cka(3 * left @ rotation + 5, left) == pytest.approx(1, abs=1e-12)
    assert linear_cka(left, torch.ones(40, 2)) == 0
    assert linear_cka(torch.ones(40, 3), torch.ones(40, 2)) == 1


@pytest.mark.parametrize("threshold", [3, -1.5, float("nan")])
def test_a_threshold_that_is_no_cosine_is_refused_first(threshold: float) -> None:
    with pytest.raises(UsageError, match=r"^the threshold is a cosine, from -1 to 1, not "):
        check_lmc("no-model", "no-model", threshold=threshold)
