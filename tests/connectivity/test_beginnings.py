"""What a live model begins to write: against the checkpoints themselves, one prompt at a time."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING, bundled_questions
from dami_merge.checkpoint.source import open_source
from dami_merge.connectivity import beginnings as module
from dami_merge.connectivity.beginnings import Beginnings
from dami_merge.connectivity.dial import Dial
from dami_merge.connectivity.path import walk
from dami_merge.connectivity.texts import PathSettings, Text, read_texts
from dami_merge.lambdas import even_grid
from dami_merge.live import load_live
from tests.pairs import walked
from tests.twins import stretched_pair

TEXTS = read_texts(bundled_questions(), limit=24)
QUARTERS = even_grid(4)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(open_source(BUNDLED_THINKING).root)


@pytest.fixture(scope="module")
def dial(tokenizer: Any) -> Dial:
    model, live = load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu")
    settings = PathSettings(temperature=0.6, written_tokens=20)
    found = walk(model, live, tokenizer, TEXTS, QUARTERS, settings=settings).dial
    assert found is not None
    return found


def _first_token(side: str, prompt: str, tokenizer: Any) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(open_source(side).root)
    turn = [{"role": "user", "content": prompt}]
    ids = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return torch.softmax(model(ids).logits[0, -1] / 0.6, dim=0)


def test_the_shares_at_the_ends_are_those_of_the_endpoints_themselves(dial: Dial, tokenizer: Any) -> None:
    parting_at_once = [start for start in dial.starts if not start.shared]
    assert len(parting_at_once) > 12
    for start in parting_at_once[:4]:
        prompt = TEXTS[start.number].prompt
        low, high = (_first_token(side, prompt, tokenizer) for side in (BUNDLED_INSTRUCT, BUNDLED_THINKING))
        assert start.apart == pytest.approx(float((low - high).abs().sum()) / 2, abs=1e-5)
        assert start.shares[0] == pytest.approx(float(low[high > low].sum()), abs=1e-5)
        assert start.shares[-1] == pytest.approx(float(high[high > low].sum()), abs=1e-5)
        assert start.instruct == tokenizer.decode([int(low.argmax())])
        assert start.thinking == tokenizer.decode([int(high.argmax())])


def test_models_that_begin_alike_are_compared_where_their_answers_part(tokenizer: Any) -> None:
    """As after a template that opens the thinking block."""
    opening = AutoTokenizer.from_pretrained(open_source(BUNDLED_THINKING).root)
    opening.chat_template += "<think>"
    model, live = load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu")
    settings = PathSettings(written_tokens=16)
    found = walk(model, live, opening, TEXTS, QUARTERS, settings=settings).dial
    assert found is not None
    parted = [(start, each) for start, each in zip(found.starts, found.written, strict=True) if start.shared]
    assert len(parted) > 3
    for start, each in parted:
        for text, token in ((each.texts[0], start.instruct), (each.texts[-1], start.thinking)):
            assert text.startswith(start.shared + token), "both write the shared part, and then their own"
        assert start.instruct != start.thinking
    for start in found.starts:
        assert start.greedy[0] is False or not start.shared


def test_the_bundled_pair_is_a_dial_whose_thinking_begins_with_its_tag(dial: Dial) -> None:
    assert dial.kind == "dial"
    assert dial.lambdas == tuple(sorted({*QUARTERS, Fraction(3, 8), Fraction(5, 8)})), (
        "steps of a quarter hide a switch"
    )
    assert {start.thinking for start in dial.starts} == {"<think>"}
    assert all(before < after for before, after in zip(dial.share, dial.share[1:], strict=False))
    assert sum(dial.flips) == len(dial.starts) == len(TEXTS)


def test_short_answers_are_the_greedy_ones_of_each_lambda(dial: Dial, tokenizer: Any) -> None:
    assert dial.written_lambdas == QUARTERS
    model = AutoModelForCausalLM.from_pretrained(open_source(BUNDLED_THINKING).root)
    for each in dial.written[:3]:
        turn = [{"role": "user", "content": TEXTS[each.number].prompt}]
        rendered = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(rendered, add_special_tokens=False, return_tensors="pt")["input_ids"]
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20)
        assert each.texts[-1] == tokenizer.decode(out[0, ids.shape[1] :])
        assert (each.like_thinking[0], each.like_thinking[-1]) == (False, True)
    assert dial.written_share[0] == 0
    assert dial.written_share[-1] == 1


def test_a_stretched_pair_passes_every_other_question_and_is_a_switch(tmp_path: Path) -> None:
    path = walked(*stretched_pair(tmp_path, 3), read_texts(bundled_questions(), limit=40), even_grid(10))
    assert path.same_basin
    assert path.smooth
    assert path.dial is not None
    assert path.dial.kind == "switch"
    assert not path.passes
    assert len(path.dial.lambdas) > 11, "further λ locate it"
    assert 0.35 <= float(path.dial.steepest.start) <= 0.55


def test_padding_and_batches_change_no_share(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dami_merge.connectivity import encoding

    model, live = load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu", dtype="float32")
    found = []
    for limit in (4096, 60, 1):
        monkeypatch.setattr(encoding, "_BATCH_TOKENS", limit)
        found.append(walk(model, live, tokenizer, TEXTS[:9], QUARTERS).dial)
    assert found[0] is not None
    for other in found[1:]:
        assert other is not None
        for here, there in zip(found[0].starts, other.starts, strict=True):
            assert there.shares == pytest.approx(here.shares, abs=1e-5)


def test_prompts_are_taken_evenly_and_long_ones_left_out(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PROMPTS", 4)
    model, live = load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu")
    texts = [Text("", "1+2=3"), *TEXTS[:8]]
    found = walk(model, live, tokenizer, texts, QUARTERS).dial
    assert found is not None
    assert [start.number for start in found.starts] == [1, 3, 5, 7]
    long = [Text("7a-3b" * 40, "4"), *texts]
    short = walk(model, live, tokenizer, long, QUARTERS, settings=PathSettings(max_tokens=60)).dial
    assert short is not None
    assert 0 not in [start.number for start in short.starts]


def test_texts_without_a_prompt_have_no_beginnings(tokenizer: Any) -> None:
    model, live = load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu")
    assert walk(model, live, tokenizer, [Text("", "1+2=3")], QUARTERS).dial is None


def test_one_model_twice_begins_alike_and_leaves_the_question_open(tokenizer: Any) -> None:
    model, live = load_live(BUNDLED_INSTRUCT, BUNDLED_INSTRUCT, device="cpu")
    found = walk(model, live, tokenizer, TEXTS, QUARTERS).dial
    assert found is not None
    assert (found.kind, found.apart) == ("unclear", 0.0)
    assert {start.shared for start in found.starts} == {""}


def test_the_models_own_penalties_and_sampling_do_not_touch_the_short_answers(tokenizer: Any) -> None:
    model, live = load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu")
    own = model.generation_config
    assert own is not None
    texts = TEXTS[:2]
    plain = walk(model, live, tokenizer, texts, QUARTERS, settings=PathSettings(written_tokens=12)).dial
    own.repetition_penalty = 50.0
    penal = walk(model, live, tokenizer, texts, QUARTERS, settings=PathSettings(written_tokens=12)).dial
    assert plain is not None
    assert penal is not None
    assert penal.written == plain.written
    assert model.generation_config is own, "it is put back"


def test_answers_part_where_their_first_tokens_differ() -> None:
    assert module._shared([5, 6, 7], [5, 8]) == [5]
    assert module._shared([5, 6], [5, 6]) == []
    assert module._shared([5, 6], [5, 6, 9]) == [5, 6]
    assert module._shared([], []) == []


def test_beginnings_without_prompts_measure_nothing(tokenizer: Any) -> None:
    model, live = load_live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu")
    nothing = Beginnings(model, live, tokenizer, [])
    nothing.measure(QUARTERS[0])
    assert nothing.result() is None
