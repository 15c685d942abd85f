"""A real server, `transformers serve`, gives the answers of the backend in this process."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from dami_merge.backends.conversation import Connection
from dami_merge.backends.hf import HfBackend
from dami_merge.backends.openai import OpenAIBackend
from dami_merge.backends.served_probing import OpenAIProber
from dami_merge.errors import BackendError
from dami_merge.estimators.probing import AT_ONCE
from dami_merge.router.endpoint import Endpoints
from tests.tiny import GREEDY, LAMBDAS, SAMPLED, at, requests

pytestmark = pytest.mark.slow

START_S = 120


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=1) as reply:
            status: int = reply.status
            return status == 200
    except (urllib.error.URLError, TimeoutError):
        return False


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server that runs for the tests of this file."""
    port, log = _free_port(), tmp_path_factory.mktemp("serve") / "log"
    command = [str(Path(sys.executable).with_name("transformers")), "serve", "--host", "127.0.0.1"]
    options = ["--port", str(port), "--device", "cpu", "--dtype", "float32"]
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*command, *options], stdout=output, stderr=output, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_S
        while not _healthy(address):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield f"{address}/v1"
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(timeout=20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def test_greedy_answers_are_those_of_the_backend_in_process_at_every_lambda(
    url: str, tiny_grid: Path
) -> None:
    served = OpenAIBackend(Endpoints(url, "{path}", grid=tiny_grid), Connection(concurrency=4, retries=0))
    local = HfBackend.from_grid(tiny_grid, device="cpu")
    wanted = requests(20)
    for lam in LAMBDAS:
        found, expected = (
            {r.question.id: (a.text, a.tokens, a.finish) for r, a in each.generate(at(lam, wanted), GREEDY)}
            for each in (served, local)
        )
        assert found == expected
        assert len(found) == 20


def test_the_cap_is_kept_and_a_seed_gives_its_sample_again(url: str, tiny_grid: Path) -> None:
    served = OpenAIBackend(Endpoints(url, "{path}", grid=tiny_grid), Connection(concurrency=1, retries=0))
    short = msgspec.structs.replace(GREEDY, max_tokens=3)
    cut = [answer for _, answer in served.generate(at(LAMBDAS[-1], requests(3)), short)]
    assert [(answer.tokens, answer.finish) for answer in cut] == [(3, "length")] * 3
    sampled = msgspec.structs.replace(SAMPLED, top_k=0, temperature=1.5)
    texts = [
        [
            answer.text
            for _, answer in served.generate(
                at(LAMBDAS[1], requests(10)), msgspec.structs.replace(sampled, seed=seed)
            )
        ]
        for seed in (0, 0, 1)
    ]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]


def test_a_top_k_is_refused_by_this_server_and_the_error_says_so(url: str, tiny_grid: Path) -> None:
    served = OpenAIBackend(Endpoints(url, "{path}", grid=tiny_grid), Connection(retries=0))
    with pytest.raises(BackendError, match=r"returned 422: .*top_k"):
        list(served.generate(at(LAMBDAS[0], requests(1)), SAMPLED))


def test_a_model_that_the_server_cannot_load_is_an_error(url: str) -> None:
    served = OpenAIBackend(Endpoints(url, "nowhere/{name}"), Connection(retries=0))
    with pytest.raises(BackendError, match="returned 500"):
        list(served.generate(at(LAMBDAS[0], requests(1)), GREEDY))


def test_this_server_returns_no_log_probabilities_and_the_error_of_a_probe_says_so(
    url: str, tiny_grid: Path
) -> None:
    served = OpenAIProber(Endpoints(url, "{path}", grid=tiny_grid), Connection(retries=0), grid=tiny_grid)
    queries = [[{"role": "user", "content": requests(1)[0].question.messages[0].content}]]
    with pytest.raises(BackendError, match="no log-probabilities") as refused:
        served.short_answers(queries, LAMBDAS[-1], AT_ONCE)
    assert "vLLM" in refused.value.hint
