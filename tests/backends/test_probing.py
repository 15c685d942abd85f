"""Probes in this process: those of one prompt alone, in batches of any size, from a grid and live."""

import json
import math
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from dami_merge.backends.models import KeptModels, LiveModels
from dami_merge.backends.probing import HfProber
from dami_merge.backends.shortly import Unseen
from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING
from dami_merge.checkpoint.source import open_both, open_source
from dami_merge.errors import BackendError, InputRefused, UsageError
from dami_merge.estimators.features.opening import open_features, reopened
from dami_merge.estimators.fitted import Conversation
from dami_merge.estimators.probing import AT_ONCE, ProbeSettings, ShortAnswer
from dami_merge.estimators.signals import SIGNALS, signal
from tests.backends.plainly import ENDS, Plain
from tests.tiny import questions

CLOSE = 2e-5
"""Float32 logits of a padded batch and of one prompt differ by some 1e-6."""

BOTH = (Fraction(0), Fraction(1))
QUERIES: list[Conversation] = [
    [{"role": turn.role, "content": turn.content} for turn in question.messages] for question in questions(16)
]


def bundled(*, batch_size: int | None = None) -> HfProber:
    return HfProber.live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu", batch_size=batch_size)


def same(one: list[ShortAnswer], other: list[ShortAnswer]) -> bool:
    texts = [(a.text, a.tokens) for a in one] == [(a.text, a.tokens) for a in other]
    numbers = [
        np.allclose(a.logprobs, b.logprobs, atol=CLOSE) and np.allclose(a.entropies, b.entropies, atol=CLOSE)
        for a, b in zip(one, other, strict=True)
    ]
    return texts and all(numbers)


def expected(plain: Plain, query: Conversation, settings: ProbeSettings) -> ShortAnswer:
    hidden = {plain.tokenizer.convert_tokens_to_ids(text): -torch.inf for text in settings.hidden}
    steps = plain.steps(plain.prompt(query), hidden, settings.max_tokens)
    kept = steps[: len(steps) - plain.ended(steps)]
    logs = [step.biased.log_softmax(dim=-1) for step in kept]
    shares = [each.exp().sort(descending=True).values for each in logs]
    parts = [[*each[:16].tolist(), float(each[16:].sum())] for each in shares]
    spreads = [-sum(part * math.log(part) for part in each if part > 0) for each in parts]
    return ShortAnswer(
        plain.tokenizer.decode([step.token for step in kept]),
        len(steps),
        tuple(float(each[step.token]) for each, step in zip(logs, kept, strict=True)),
        tuple(spreads),
    )


@pytest.fixture(scope="module")
def prober() -> HfProber:
    return bundled()


@pytest.mark.parametrize("lam", BOTH)
def test_short_answers_are_those_of_one_prompt_at_a_time_without_padding(
    prober: HfProber, lam: Fraction
) -> None:
    plain = Plain(ENDS[lam])
    found = prober.short_answers(QUERIES, lam, AT_ONCE)
    assert same(found, [expected(plain, query, AT_ONCE) for query in QUERIES])
    assert len({answer.text for answer in found}) > 3


def test_answers_and_states_are_the_same_in_batches_of_any_size_and_from_a_grid(
    prober: HfProber, tiny_grid: Path
) -> None:
    answers, states = prober.short_answers(QUERIES, BOTH[1], AT_ONCE), prober.prompt_states(QUERIES, BOTH[0])
    assert len(set(states.tokens.tolist())) > 3
    for other in (bundled(batch_size=1), bundled(batch_size=7), HfProber.from_grid(tiny_grid, device="cpu")):
        assert same(answers, other.short_answers(QUERIES, BOTH[1], AT_ONCE))
        found = other.prompt_states(QUERIES, BOTH[0])
        assert np.allclose(states.values, found.values, atol=CLOSE)
        assert np.array_equal(states.tokens, found.tokens)


def test_states_are_the_mean_and_the_last_token_of_each_layer(prober: HfProber) -> None:
    plain = Plain(ENDS[BOTH[0]])
    count = plain.model.config.num_hidden_layers
    found = prober.prompt_states(QUERIES, BOTH[0], range(count + 1))
    for place, query in enumerate(QUERIES):
        ids = plain.prompt(query)
        with torch.inference_mode():
            layers = plain.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        wanted = torch.stack([torch.stack([layer[0].mean(dim=0), layer[0, -1]]) for layer in layers])
        assert np.allclose(found.values[place], wanted.numpy(), atol=CLOSE)
        assert found.tokens[place] == len(ids)
    some = prober.prompt_states(QUERIES, BOTH[0], [count, 1])
    assert some.layers == (count, 1)
    assert np.array_equal(some.values, found.values[:, [count, 1]])


def test_another_architecture_with_learned_positions_is_padded_without_harm_too(tmp_path: Path) -> None:
    vocabulary = Plain(ENDS[BOTH[0]]).model.config.vocab_size
    for seed, name in enumerate(("instruct", "thinking")):
        shutil.copytree(ENDS[BOTH[0]], tmp_path / name)
        torch.manual_seed(seed)
        config = GPT2Config(
            vocab_size=vocabulary, n_positions=64, n_embd=16, n_layer=2, n_head=2, initializer_range=0.6,
            bos_token_id=None, eos_token_id=3,
        )  # fmt: skip
        GPT2LMHeadModel(config).save_pretrained(tmp_path / name)
    pair = open_source(str(tmp_path / "instruct")), open_source(str(tmp_path / "thinking"))
    queries = [query for query in QUERIES if len(query[0]["content"]) < 40]
    one, many = (HfProber(LiveModels(*pair, device="cpu"), batch_size=size) for size in (1, 64))
    short = msgspec.structs.replace(AT_ONCE, max_tokens=4)
    for lam in BOTH:
        assert same(one.short_answers(queries, lam, short), many.short_answers(queries, lam, short))
        alone, together = (each.prompt_states(queries, lam).values for each in (one, many))
        assert alone.shape[1:] == (2, 2, 16)
        assert np.allclose(alone, together, atol=CLOSE)
        assert np.abs(alone - alone[:1]).max() > 0.1


def test_a_hidden_text_is_not_generated_and_the_others_share_its_probability(prober: HfProber) -> None:
    free = msgspec.structs.replace(AT_ONCE, hidden=(), max_tokens=4)
    thinks = prober.short_answers(QUERIES, BOTH[1], free)
    direct = prober.short_answers(QUERIES, BOTH[1], msgspec.structs.replace(AT_ONCE, max_tokens=4))
    assert sum(answer.text.startswith("<think>") for answer in thinks) > 8
    assert not any("<think>" in answer.text for answer in direct)
    words = msgspec.structs.replace(AT_ONCE, hidden=("<think>", "no such words", direct[0].text[:1]))
    assert prober.short_answers(QUERIES[:1], BOTH[1], words)[0].text[:1] != direct[0].text[:1]


def test_a_hidden_text_of_several_tokens_is_cut_short_only_where_it_is_whole() -> None:
    unseen = Unseen([(5,), (1, 2), ()], prompt_tokens=2)
    ids = torch.tensor([[9, 1], [9, 9]])
    assert torch.isinf(unseen(ids, torch.zeros(2, 6))).nonzero().tolist() == [[0, 5], [1, 5]]
    later = torch.tensor([[9, 9, 1], [9, 1, 3]])
    assert torch.isinf(unseen(later, torch.zeros(2, 6))).nonzero().tolist() == [[0, 2], [0, 5], [1, 5]]


def test_the_first_token_is_skipped_but_never_the_only_one(prober: HfProber) -> None:
    whole = prober.short_answers(QUERIES, BOTH[0], AT_ONCE)
    skipped = prober.short_answers(QUERIES, BOTH[0], msgspec.structs.replace(AT_ONCE, skip_first=True))
    for one, other in zip(whole, skipped, strict=True):
        assert (one.text, one.tokens) == (other.text, other.tokens)
        assert other.logprobs == (one.logprobs[1:] or one.logprobs)
        assert other.entropies == (one.entropies[1:] or one.entropies)
    assert any(len(one.logprobs) == 1 for one in skipped)


def test_an_inducer_is_continued_and_the_cap_is_kept(prober: HfProber) -> None:
    plain = Plain(ENDS[BOTH[1]])
    settings = msgspec.structs.replace(AT_ONCE, inducer="<think>7", max_tokens=3, hidden=("</think>",))
    found = prober.short_answers(QUERIES[:6], BOTH[1], settings)
    end = plain.tokenizer.convert_tokens_to_ids("</think>")
    for query, answer in zip(QUERIES, found, strict=False):
        prompt = [*plain.prompt(query), *plain.tokenizer("<think>7", add_special_tokens=False)["input_ids"]]
        steps = plain.steps(prompt, {end: -torch.inf}, 3)
        assert answer.text == plain.tokenizer.decode(
            [step.token for step in steps][: len(steps) - plain.ended(steps)]
        )
        assert answer.tokens == len(steps) <= 3


def edited(folder: Path, edit: Callable[[Path], object]) -> HfProber:
    for name, root in zip(("instruct", "thinking"), ENDS.values(), strict=True):
        shutil.copytree(root, folder / name)
        edit(folder / name)
    sides = open_source(str(folder / "instruct")), open_source(str(folder / "thinking"))
    return HfProber(LiveModels(*sides, device="cpu"))


def test_a_block_that_the_template_opens_is_closed_first(prober: HfProber, tmp_path: Path) -> None:
    def open_block(folder: Path) -> None:
        path = folder / "chat_template.jinja"
        path.write_text(path.read_text().replace("%}<|assistant|>{% endif", "%}<|assistant|><think>{% endif"))

    settings = msgspec.structs.replace(AT_ONCE, closing="</think>")
    opened = edited(tmp_path, open_block).short_answers(QUERIES[:8], BOTH[1], settings)
    by_hand = msgspec.structs.replace(AT_ONCE, inducer="<think></think>")
    assert same(opened, prober.short_answers(QUERIES[:8], BOTH[1], by_hand))


def test_settings_that_the_tokenizer_cannot_write_are_refused_and_others_are_suited(
    prober: HfProber, tiny_grid: Path
) -> None:
    with pytest.raises(UsageError, match=r"cannot write '\\n\*\*Final Answer") as refused:
        prober.short_answers(QUERIES[:1], BOTH[0], ProbeSettings())
    assert "AT_ONCE" in refused.value.hint
    assert prober.suited() == HfProber.from_grid(tiny_grid).suited() == AT_ONCE


def test_prompts_too_long_unknown_roles_and_layers_that_are_missing_are_refused(prober: HfProber) -> None:
    context = Plain(ENDS[BOTH[0]]).model.config.max_position_embeddings
    long: list[Conversation] = [QUERIES[0], [{"role": "user", "content": "1" * context}]]
    with pytest.raises(
        UsageError, match=rf"query 2 and the probe take up to \d+ tokens, the model {context}"
    ):
        prober.short_answers(long, BOTH[0], AT_ONCE)
    with pytest.raises(UsageError, match="query 2"):
        prober.prompt_states(long, BOTH[0])
    with pytest.raises(InputRefused, match="'query 1' is rejected"):
        prober.prompt_states([[{"role": "system", "content": "be brief"}]], BOTH[0])
    for layers in ([], [-1], [99]):
        with pytest.raises(UsageError, match=r"layers \[.*\] of a model with \d+ layers"):
            prober.prompt_states(QUERIES, BOTH[0], layers)
    with pytest.raises(UsageError, match="the batch size must be at least 1, got 0"):
        bundled(batch_size=0)


def test_a_model_that_computes_nan_gives_an_error() -> None:
    models = LiveModels(*open_both(BUNDLED_INSTRUCT, BUNDLED_THINKING), device="cpu")
    with torch.no_grad():
        next(models.at(BOTH[1]).parameters()).fill_(torch.nan)
    for ask in (
        lambda: HfProber(models).short_answers(QUERIES, BOTH[1], AT_ONCE),
        lambda: HfProber(models).prompt_states(QUERIES, BOTH[1]),
    ):
        with pytest.raises(BackendError, match=r"λ = 1\.00 computes NaN in torch\.float32"):
            ask()


def test_both_ends_of_a_grid_stay_in_memory(tiny_grid: Path) -> None:
    models = KeptModels(tiny_grid, device="cpu")
    first, second = (models.at(lam) for lam in BOTH)
    assert first is not second
    assert [models.at(lam) for lam in BOTH] == [first, second]
    assert models.describe() == HfProber.from_grid(tiny_grid, device="cpu").describe()


def test_the_features_conf_are_the_signals_of_both_ends_and_their_tokens(prober: HfProber) -> None:
    features = open_features("conf", prober=prober)
    inputs = features.inputs(QUERIES)
    ends = [prober.short_answers(QUERIES, lam, AT_ONCE) for lam in BOTH]
    assert inputs.vectors.shape == (16, len(SIGNALS))
    assert signal(inputs.vectors, "instruct") == pytest.approx([each.confidence() for each in ends[0]])
    assert signal(inputs.vectors, "thinking") == pytest.approx([each.confidence() for each in ends[1]])
    assert inputs.spent.tolist() == [one.tokens + two.tokens for one, two in zip(*ends, strict=True)]
    described = features.describe()
    assert json.loads(described["probe"])["max_tokens"] == 20
    assert described["weights"] == prober.describe()["weights"]
    assert features.inputs([]).vectors.shape == (0, len(SIGNALS))
    other = open_features("conf", prober=prober, probe=msgspec.structs.replace(AT_ONCE, aggregate="min"))
    assert other.describe() != described


def test_the_features_state_cost_no_token_and_have_a_block_for_each_layer(prober: HfProber) -> None:
    features = open_features("state", prober=prober, layers=[1, 2])
    inputs = features.inputs(QUERIES)
    states = prober.prompt_states(QUERIES, BOTH[0], [1, 2])
    width = states.values.shape[3]
    assert inputs.blocks == (2 * width, 2 * width)
    assert np.array_equal(inputs.vectors[:, width : 2 * width], states.values[:, 0, 1])
    assert not inputs.spent.any()
    assert features.describe()["layers"] == "1,2"
    assert open_features("state", prober=prober).describe()["layers"] == "spread"
    assert open_features("text+state", prober=prober).inputs(QUERIES).vectors.shape[0] == 16
    assert features.inputs([]).vectors.shape == (0, 4 * width)


def test_probed_features_open_again_with_the_settings_that_they_had(prober: HfProber) -> None:
    short = msgspec.structs.replace(AT_ONCE, max_tokens=1, aggregate="min")
    for spec in ("conf", "state", "text+conf+state"):
        before = open_features(spec, prober=prober, probe=short, layers=[2])
        after = reopened(before.spec, before.describe(), prober)
        assert after.describe() == before.describe() != open_features(spec, prober=prober).describe()
        assert np.array_equal(after.inputs(QUERIES).vectors, before.inputs(QUERIES).vectors)
    usual = open_features("state", prober=prober)
    assert reopened("state", usual.describe(), prober).describe() == usual.describe()
    for described in ({"probe": '{"max_tokens": 0}'}, {"probe": "{"}, {"layers": "1,x"}):
        with pytest.raises(InputRefused, match="the settings of the features conf are not readable"):
            reopened("conf", described, prober)
