"""Probes of a server give what probes in this process give, or an error that says what the server lacks."""

import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from dami_merge.backends.conversation import Connection
from dami_merge.backends.probing import HfProber
from dami_merge.backends.served_probing import OpenAIProber
from dami_merge.backends.short_reply import read_short_answer
from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING
from dami_merge.errors import BackendError, UsageError
from dami_merge.estimators.features.opening import open_features
from dami_merge.estimators.fitted import Conversation
from dami_merge.estimators.probing import AT_ONCE, ProbeSettings
from dami_merge.router.endpoint import Endpoints
from tests.backends.plainly import ENDS, Plain, completion
from tests.openai_server import ChatServer, running_server
from tests.tiny import questions

BOTH = (Fraction(0), Fraction(1))
QUERIES: list[Conversation] = [
    [{"role": turn.role, "content": turn.content} for turn in question.messages] for question in questions(8)
]
FOLDERS = {f"tiny-{float(lam):.2f}": folder for lam, folder in ENDS.items()}
Body = dict[str, Any]


@cache
def plain(model: str) -> Plain:
    return Plain(FOLDERS[model])


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """Runs the bundled pair and returns probabilities from after the bias."""
    for model in FOLDERS:
        plain(model)  # not in the threads of the server: loading is not safe in threads
    with running_server() as state:
        state.reply = reply()
        yield state


def reply(
    *,
    raw: bool = False,
    cut_end: bool = False,
    change: Callable[[Body], object] = lambda choice: None,
    deaf: bool = False,
) -> Callable[[Body, Body], object]:
    def answer(body: Body, _: Body) -> object:
        heard = {name: value for name, value in body.items() if not (deaf and name == "logit_bias")}
        made = completion(plain(body["model"]), heard, raw=raw, cut_end=cut_end)
        change(made["choices"][0])
        return made

    return answer


def prober(server: ChatServer, grid: Path | None = None, **options: Any) -> OpenAIProber:
    endpoints = Endpoints(server.url, "tiny-{lambda}")
    return OpenAIProber(endpoints, Connection(retries=0, concurrency=2), grid=grid, **options)


@pytest.fixture(scope="module")
def local() -> HfProber:
    return HfProber.live(BUNDLED_INSTRUCT, BUNDLED_THINKING, device="cpu")


@pytest.mark.parametrize("lam", BOTH)
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("cut_end", [False, True])
def test_short_answers_are_those_of_this_process(
    server: ChatServer, tiny_grid: Path, local: HfProber, lam: Fraction, raw: bool, cut_end: bool
) -> None:
    server.reply = reply(raw=raw, cut_end=cut_end)
    found = prober(server, tiny_grid).short_answers(QUERIES, lam, AT_ONCE)
    wanted = local.short_answers(QUERIES, lam, AT_ONCE)
    for one, two in zip(found, wanted, strict=True):
        assert (one.text, one.tokens) == (two.text, two.tokens)
        assert np.allclose(one.logprobs, two.logprobs, atol=1e-4)
        assert np.allclose(one.entropies, two.entropies, atol=1e-4)
    sent = server.bodies[0]
    assert (sent["temperature"], sent["max_tokens"], sent["top_logprobs"]) == (0, 20, 20)
    assert list(sent["logit_bias"].values()) == [-100]


def test_an_inducer_is_a_turn_that_the_server_continues(
    server: ChatServer, tiny_grid: Path, local: HfProber
) -> None:
    settings = msgspec.structs.replace(AT_ONCE, inducer="<think>7", hidden=("</think>",), max_tokens=4)
    found = prober(server, tiny_grid).short_answers(QUERIES, BOTH[1], settings)
    wanted = local.short_answers(QUERIES, BOTH[1], settings)
    assert [answer.text for answer in found] == [answer.text for answer in wanted]
    sent = server.bodies[0]
    assert sent["messages"][-1] == {"role": "assistant", "content": "<think>7"}
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)
    begun = prober(server, tiny_grid, begun={BOTH[1]: "<think>"})
    without = msgspec.structs.replace(settings, inducer="7")
    assert begun.short_answers(QUERIES, BOTH[1], without) == found


def test_the_features_conf_come_from_a_server_too(
    server: ChatServer, tiny_grid: Path, local: HfProber
) -> None:
    served = open_features("conf", prober=prober(server, tiny_grid)).inputs(QUERIES)
    here = open_features("conf", prober=local).inputs(QUERIES)
    assert np.allclose(served.vectors, here.vectors, atol=1e-3)
    assert np.array_equal(served.spent, here.spent)
    assert prober(server, tiny_grid).short_answers([], BOTH[0], AT_ONCE) == []


def test_ids_of_hidden_texts_come_from_the_grid_or_from_the_caller(
    server: ChatServer, tiny_grid: Path
) -> None:
    ids = plain("tiny-1.00").tokenizer
    by_hand = prober(server, ids=lambda text: ids(text, add_special_tokens=False)["input_ids"])
    by_grid = prober(server, tiny_grid)
    assert by_hand.short_answers(QUERIES, BOTH[1], AT_ONCE) == by_grid.short_answers(
        QUERIES, BOTH[1], AT_ONCE
    )
    with pytest.raises(UsageError, match="the ids of hidden texts are unknown"):
        prober(server).short_answers(QUERIES, BOTH[1], AT_ONCE)
    with pytest.raises(UsageError, match="'<think>' has 2 tokens; logit_bias"):
        prober(server, ids=lambda text: [1, 2]).short_answers(QUERIES, BOTH[1], AT_ONCE)
    free = msgspec.structs.replace(AT_ONCE, hidden=())
    assert len(prober(server).short_answers(QUERIES, BOTH[0], free)) == len(QUERIES)
    assert "logit_bias" not in server.bodies[-1]


def test_settings_follow_the_grids_tokenizer_where_it_is_known(server: ChatServer, tiny_grid: Path) -> None:
    assert prober(server, tiny_grid).suited() == AT_ONCE
    assert prober(server).suited() == ProbeSettings()
    assert prober(server).describe() == {"backend": "openai", "model": "tiny-{lambda}"}


def test_a_server_that_drops_logprobs_or_alternatives_is_an_error_with_the_way_out(
    server: ChatServer, tiny_grid: Path
) -> None:
    lacks: list[tuple[Callable[[Body], object], str]] = [
        (lambda choice: choice.pop("logprobs"), "no log-probabilities"),
        (lambda choice: choice.update(logprobs=None), "no log-probabilities"),
        (lambda choice: choice["logprobs"].update(content=[]), "no log-probabilities"),
        (lambda choice: [t.pop("top_logprobs") for t in choice["logprobs"]["content"]], "no alternatives"),
    ]
    for change, message in lacks:
        server.reply = reply(change=change)
        with pytest.raises(BackendError, match=message) as refused:
            prober(server, tiny_grid).short_answers(QUERIES, BOTH[0], AT_ONCE)
        assert "HfProber" in refused.value.hint


def test_a_server_that_ignores_logit_bias_is_an_error(server: ChatServer, tiny_grid: Path) -> None:
    server.reply = reply(deaf=True)
    with pytest.raises(BackendError, match="generated '<think>', though logit_bias forbids it"):
        prober(server, tiny_grid).short_answers(QUERIES, BOTH[1], AT_ONCE)


def test_an_empty_answer_counts_no_token() -> None:
    from openai.types.chat import ChatCompletion

    end = {"token": "<|end|>", "logprob": -0.1, "bytes": None, "top_logprobs": []}
    choice = {
        "index": 0,
        "finish_reason": "stop",
        "message": {"role": "assistant", "content": ""},
        "logprobs": {"content": [end], "refusal": None},
    }
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    read = read_short_answer(ChatCompletion.model_validate_json(json.dumps(body | {"usage": usage})), AT_ONCE)
    assert (read.text, read.tokens, read.logprobs, read.confidence()) == ("", 1, (), 0)


def test_states_are_refused_with_the_way_out(server: ChatServer) -> None:
    ask = partial(prober(server).prompt_states, QUERIES, BOTH[0])
    with pytest.raises(BackendError, match="does not return the states of a prompt") as refused:
        ask()
    assert "in this process" in refused.value.hint
