"""A sweep's questions to a server: what is sent, what is read, what fails and how."""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import msgspec
import openai  # noqa: F401 - imported before any test, so that no interrupt comes in the middle of it
import pytest

from dami_merge.backends.conversation import Connection
from dami_merge.backends.openai import OpenAIBackend
from dami_merge.backends.seeds import answer_seed
from dami_merge.errors import BackendError, UsageError
from dami_merge.evaluation.generation import Generation, Request
from dami_merge.optional import install_hint
from dami_merge.router.endpoint import Endpoints
from dami_merge.sampling import SamplingSettings
from tests.openai_server import Body, ChatServer, Fault, running_server
from tests.tiny import GREEDY, SAMPLED, at, requests

LAM = Fraction(2, 5)
QUICK = Connection(retries=2, timeout_s=20)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with running_server() as state:
        yield state


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    ours = [thread.name for thread in set(threading.enumerate()) - before if "dami" in thread.name]
    assert ours == []


def backend(server: ChatServer, connection: Connection = QUICK, **options: Any) -> OpenAIBackend:
    return OpenAIBackend(Endpoints(server.url, "tiny-{lambda}"), connection, **options)


def ask(
    server: ChatServer,
    count: int = 1,
    *,
    settings: SamplingSettings = SAMPLED,
    connection: Connection = QUICK,
    **options: Any,
) -> list[tuple[Request, Generation]]:
    return list(backend(server, connection, **options).generate(at(LAM, requests(count)), settings))


def message(**fields: object) -> Callable[[Body, Body], object]:
    def change(_: Body, answer: Body) -> object:
        answer["choices"][0]["message"] = {"role": "assistant", **fields}
        return answer

    return change


def choice(**fields: object) -> Callable[[Body, Body], object]:
    def change(_: Body, answer: Body) -> object:
        answer["choices"][0].update(fields)
        return answer

    return change


def test_every_request_gets_the_answer_to_its_own_question(server: ChatServer) -> None:
    wanted = requests(30, 2)
    found = list(backend(server).generate(at(LAM, wanted), SAMPLED))
    assert sorted((r.question.id, r.sample) for r, _ in found) == sorted(
        (r.question.id, r.sample) for r in wanted
    )
    for request, answer in found:
        assert answer.text == f"{request.question.messages[0].content} at tiny-0.40"
        assert (answer.tokens, answer.finish, answer.prefilled) == (7, "stop", False)
        assert 0 < answer.seconds < 20
    assert len(server.bodies) == 60


def test_sampling_sends_every_setting_and_a_seed_of_the_answers_own(server: ChatServer) -> None:
    wanted = requests(3, 2)
    list(backend(server).generate(at(LAM, wanted), msgspec.structs.replace(SAMPLED, seed=5)))
    assert set(server.paths) == {"/v1/chat/completions"}
    seeds = {answer_seed(5, request) % 2**31 for request in at(LAM, wanted)}
    assert {body.pop("seed") for body in server.bodies} == seeds
    assert len(seeds) == 6
    for body in server.bodies:
        assert body.pop("messages")[0].keys() == {"role", "content"}
        assert body == {
            "model": "tiny-0.40", "max_tokens": 96, "temperature": 1, "top_p": 0.95, "top_k": 20,
        }  # fmt: skip


def test_a_top_k_that_is_off_and_greedy_answers_send_none(server: ChatServer) -> None:
    ask(server, settings=msgspec.structs.replace(SAMPLED, top_k=0))
    ask(server, settings=GREEDY)
    assert server.bodies[0].keys() == {"model", "messages", "max_tokens", "temperature", "top_p", "seed"}
    assert server.bodies[1].keys() == {"model", "messages", "max_tokens", "temperature", "seed"}
    assert server.bodies[1]["temperature"] == 0


def test_a_top_k_is_never_dropped_without_a_word(server: ChatServer) -> None:
    silent = replace(QUICK, send_top_k=False)
    with pytest.raises(UsageError, match="top_k is 20, but the connection does not send top_k"):
        ask(server, connection=silent)
    assert len(ask(server, connection=silent, settings=msgspec.structs.replace(SAMPLED, top_k=0))) == 1
    assert len(ask(server, connection=silent, settings=GREEDY)) == 1


@pytest.mark.parametrize(
    ("argument", "variable", "sent"),
    [("a", "b", "Bearer a"), (None, "b", "Bearer b"), (None, None, "Bearer none")],
)
def test_the_key_is_the_argument_else_the_environments_else_none(
    server: ChatServer,
    monkeypatch: pytest.MonkeyPatch,
    argument: str | None,
    variable: str | None,
    sent: str,
) -> None:
    if variable is None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    else:
        monkeypatch.setenv("OPENAI_API_KEY", variable)
    ask(server, connection=replace(QUICK, api_key=argument))
    assert server.headers[0]["authorization"] == sent


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_that_a_server_cuts_out_is_put_back_in_its_tags(server: ChatServer, name: str) -> None:
    server.reply = message(**{name: "2+2", "content": "4"})
    assert ask(server)[0][1].text == "<think>2+2</think>4"
    server.reply = message(**{name: "2+2 is", "content": None})
    assert ask(server)[0][1].text == "<think>2+2 is"
    server.reply = message(**{name: None, "content": "4"})
    assert ask(server)[0][1].text == "4"


def test_a_block_that_is_closed_and_never_opened_was_opened_by_the_template(server: ChatServer) -> None:
    server.reply = message(content="2+2</think>4")
    assert ask(server)[0][1].prefilled
    server.reply = message(content="<think>2+2</think>4")
    assert not ask(server)[0][1].prefilled


def test_an_answer_cut_at_the_cap_is_told(server: ChatServer) -> None:
    server.reply = choice(finish_reason="length")
    assert ask(server, settings=msgspec.structs.replace(SAMPLED, max_tokens=7))[0][1].finish == "length"
    with pytest.raises(BackendError, match="truncated an answer at 7 tokens, below the cap of 96"):
        ask(server)


@pytest.mark.parametrize("reason", ["content_filter", "tool_calls", None, "abort"])
def test_any_other_end_is_an_error(server: ChatServer, reason: str | None) -> None:
    server.reply = choice(finish_reason=reason)
    with pytest.raises(BackendError, match=f"ended an answer with finish_reason {reason!r}"):
        ask(server)


def test_a_server_that_does_not_count_tokens_is_refused_unless_they_are_counted_here(
    server: ChatServer,
) -> None:
    server.reply = lambda _, answer: {name: answer[name] for name in answer if name != "usage"}
    with pytest.raises(BackendError, match="does not report the number of generated tokens") as refused:
        ask(server)
    assert "enable usage on the server" in refused.value.hint
    ((request, answer),) = ask(server, count_tokens=len)
    assert answer.tokens == len(f"{request.question.messages[0].content} at tiny-0.40")


@pytest.mark.parametrize("status", [429, 500, 503, 408])
def test_a_passing_fault_is_tried_again_and_a_lasting_one_ends_after_the_retries(
    server: ChatServer, status: int
) -> None:
    server.faults = [Fault(status)] * 2
    assert len(ask(server)) == 1
    assert len(server.bodies) == 3
    server.faults = [Fault(status)] * 9
    with pytest.raises(BackendError, match=rf"returned {status}: .*out of order.*\(after 2 retries\)"):
        ask(server)
    assert len(server.bodies) == 6


def test_an_internal_error_of_a_server_that_answers_nothing_is_soon_given_up_and_names_model_and_flag(
    server: ChatServer,
) -> None:
    server.faults = [Fault(500, b"Internal Server Error", "text/plain")] * 9
    with pytest.raises(BackendError) as refused:
        ask(server, connection=Connection(retries=5, timeout_s=20))
    assert len(server.bodies) == 3
    assert str(refused.value) == (
        f"{server.url} returned 500: Internal Server Error (model 'tiny-0.40') (after 2 retries)"
    )
    assert refused.value.hint == (
        "available: tiny-0.00, tiny-0.40, tiny-1.00; "
        "`transformers serve` knows a checkpoint by its folder: pass --model-name '{path}'"
    )


def test_an_internal_error_of_a_server_that_has_answered_gets_all_retries(server: ChatServer) -> None:
    asked = backend(server, Connection(concurrency=1, retries=5, timeout_s=20))
    answers = asked.generate(at(LAM, requests(9)), SAMPLED)
    next(answers)
    server.faults = [Fault(500)] * 5
    assert len(list(answers)) == 8
    server.faults = []


def test_a_lone_surrogate_becomes_a_replacement_character_in_an_answer_and_is_refused_in_a_question(
    server: ChatServer,
) -> None:
    def halved(_: Body, answer: Body) -> Body:
        answer["choices"][0]["message"]["content"] = "half \ud83d"
        return answer

    server.reply = halved
    ((_, answer),) = ask(server)
    assert answer.text == "half \ufffd"
    (request,) = at(LAM, requests(1))
    turns = (replace(request.question.messages[0], content="half \ud83d"),)
    broken = replace(request, question=replace(request.question, messages=turns))
    with pytest.raises(BackendError, match="a question holds a lone surrogate"):
        list(backend(server).generate([broken], SAMPLED))


@pytest.mark.parametrize("count", [-1, 10**30])
def test_a_count_of_tokens_that_cannot_be_is_an_error(server: ChatServer, count: int) -> None:
    server.reply = lambda _, answer: {**answer, "usage": {**answer["usage"], "completion_tokens": count}}
    with pytest.raises(BackendError, match=rf"reports {count} generated tokens, which cannot be"):
        ask(server)


@pytest.mark.parametrize("body", [b"[" * 100_000 + b"]" * 100_000, b'{"choices": "\xff"}', b""])
def test_what_is_no_json_is_an_error_however_it_is_broken(server: ChatServer, body: bytes) -> None:
    server.faults = [Fault(200, body)]
    with pytest.raises(BackendError, match="returned invalid JSON"):
        ask(server)


def test_retry_after_is_waited_for(server: ChatServer) -> None:
    server.faults = [Fault(429, wait_ms=1500)]
    began = time.monotonic()
    ((_, answer),) = ask(server)
    assert time.monotonic() - began > 1.4
    assert answer.seconds > 1.4


def test_a_request_that_takes_too_long_is_tried_again_and_then_an_error(server: ChatServer) -> None:
    server.hold.set()
    with pytest.raises(BackendError, match=r"did not answer in time \(after 1 retry\)"):
        ask(server, connection=Connection(retries=1, timeout_s=0.1))
    assert len(server.bodies) == 2


def test_a_server_that_is_not_there_is_an_error() -> None:
    with running_server() as gone:
        pass
    with pytest.raises(BackendError, match="cannot be reached") as refused:
        ask(gone, connection=Connection(retries=0))
    assert refused.value.hint == "check that the server is running at this URL"


def test_a_model_that_the_server_lacks_is_told_with_those_it_has(server: ChatServer) -> None:
    server.models = ["base", "tiny-0.00"]
    with pytest.raises(BackendError, match=r"returned 404: .*\(model 'tiny-0\.40'\)") as refused:
        ask(server, 3)
    assert refused.value.hint == "available: base, tiny-0.00"
    server.models = [f"m{number}" for number in range(14)]
    with pytest.raises(BackendError, match="404") as refused:
        ask(server)
    assert refused.value.hint.endswith("m11 and 2 more")
    server.models = []
    with pytest.raises(BackendError, match="404") as refused:
        ask(server)
    assert refused.value.hint == "the server lists no models"


def test_a_url_that_is_not_the_apis_is_an_error_with_the_usual_ending(server: ChatServer) -> None:
    server.faults = [Fault(404, b"<html>", "text/html")]
    astray = OpenAIBackend(Endpoints(server.url.removesuffix("/v1"), "tiny-{lambda}"), QUICK)
    with pytest.raises(BackendError, match="404") as refused:
        list(astray.generate(at(LAM, requests(1)), SAMPLED))
    assert refused.value.hint == "check the base URL; it usually ends in /v1"


def test_a_wrong_key_is_told_and_not_tried_again(server: ChatServer) -> None:
    server.key = "secret"
    with pytest.raises(BackendError, match=r"returned 401: .*wrong key") as refused:
        ask(server, connection=replace(QUICK, api_key="guess"))
    assert "OPENAI_API_KEY" in refused.value.hint
    assert len(server.bodies) == 1
    assert len(ask(server, connection=replace(QUICK, api_key="secret"))) == 1


@pytest.mark.parametrize("status", [400, 422])
def test_a_setting_that_the_server_refuses_is_told_with_its_words(server: ChatServer, status: int) -> None:
    server.faults = [Fault(status, b'{"detail": "Unexpected fields: top_k"}')]
    with pytest.raises(BackendError, match=rf"returned {status}: .*Unexpected fields: top_k") as refused:
        ask(server)
    assert "not every server accepts top_k" in refused.value.hint


@pytest.mark.parametrize(
    ("body", "kind", "found"),
    [
        (
            b"<html>Please sign in</html>",
            "text/html",
            "did not return a chat completion with one choice: <html>Please",
        ),
        (b'{"choices": ', "application/json", "returned invalid JSON|returned an unusable answer"),
        (b"[]", "application/json", "did not return a chat completion with one choice"),
        (b'{"choices": []}', "application/json", "did not return a chat completion with one choice"),
        (b'{"choices": null}', "application/json", "did not return a chat completion with one choice"),
        (b'{"choices": [{}, {}]}', "application/json", "did not return a chat completion with one choice"),
        (b'{"choices": [7]}', "application/json", "did not return a chat completion with one choice"),
        (b'{"choices": [{"message": {"content": [1]}}]}', "application/json", "an answer without text"),
        (
            b'{"choices": [{"message": null, "finish_reason": "stop"}]}',
            "application/json",
            "an answer without text",
        ),
    ],
)
def test_an_answer_of_another_form_is_an_error(
    server: ChatServer, body: bytes, kind: str, found: str
) -> None:
    server.faults = [Fault(200, body, kind)]
    with pytest.raises(BackendError, match=found):
        ask(server)


def test_no_more_requests_than_allowed_are_in_flight_and_so_many_are(server: ChatServer) -> None:
    server.delay_s = 0.02
    assert len(ask(server, 60, connection=replace(QUICK, concurrency=4))) == 60
    assert server.most_at_once == 4


def test_an_answer_is_given_out_while_others_are_still_awaited(server: ChatServer) -> None:
    running = backend(server, replace(QUICK, concurrency=1)).generate(at(LAM, requests(40)), SAMPLED)
    next(running)
    assert len(server.bodies) < 40
    time.sleep(0.5)
    assert len(server.bodies) < 10  # a reader that takes nothing slows the server down
    assert len(list(running)) == 39


def test_closing_ends_what_is_in_flight_at_once(server: ChatServer) -> None:
    running = backend(server, replace(QUICK, concurrency=4)).generate(at(LAM, requests(40)), SAMPLED)
    next(running)
    server.hold.set()
    time.sleep(0.05)
    began = time.monotonic()
    running.close()
    assert time.monotonic() - began < 5  # the server would hold them for ever


def test_ctrl_c_while_answers_are_awaited_ends_them_and_the_thread(server: ChatServer) -> None:
    server.hold.set()
    main = threading.main_thread().ident
    assert main is not None
    key = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
    key.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        ask(server, 8)
    assert time.monotonic() - began < 5
    key.join()


def test_what_came_before_a_failure_is_given_out_before_it_is_raised(server: ChatServer) -> None:
    def fail_at_the_tenth(_: Body, answer: Body) -> object:
        return {} if len(server.bodies) == 10 else answer

    server.reply = fail_at_the_tenth
    running = backend(server, replace(QUICK, concurrency=1)).generate(at(LAM, requests(40)), SAMPLED)
    assert len([next(running) for _ in range(9)]) == 9
    with pytest.raises(BackendError, match="did not return a chat completion"):
        next(running)
    assert len(server.bodies) == 10


def test_no_request_asks_nothing(server: ChatServer) -> None:
    assert list(backend(server).generate(at(LAM, []), SAMPLED)) == []
    assert server.bodies == []


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"retries": -1}, {"timeout_s": 0}])
def test_numbers_that_cannot_work_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"concurrency .*, retries .*, timeout"):
        Connection(**wrong)


def test_without_the_client_the_extra_is_named(server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(BackendError, match="needs openai") as refused:
        ask(server)
    assert refused.value.hint == install_hint("sweep")


def test_the_description_is_that_of_the_endpoints(server: ChatServer) -> None:
    assert backend(server).describe() == {"backend": "openai", "model": "tiny-{lambda}"}
