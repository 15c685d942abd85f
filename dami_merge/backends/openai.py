"""Backend that queries the model of a λ on any OpenAI-compatible server, with the official client.

The client retries (408, 409, 429, 5xx, a lost connection, a timeout) with exponential backoff, and obeys
`Retry-After` up to two minutes.

Servers differ in which parameters they honour. `transformers serve` 5.23 rejects `top_k` (422), samples only
if the checkpoint's generation_config sets `do_sample`, and seeds one generator that all requests share: its
answers are reproducible only with a concurrency of 1. vLLM takes parameters that are not sent, such as a
disabled top_k, from the checkpoint's generation_config: start it with `--generation-config vllm`.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any

from dami_merge.backends.conversation import Connection, Exchange
from dami_merge.backends.reply import read_reply
from dami_merge.backends.seeds import answer_seed
from dami_merge.errors import BackendError, UsageError
from dami_merge.evaluation.generation import Generation, Request, by_lambda
from dami_merge.optional import needed
from dami_merge.router.endpoint import Endpoint, Endpoints
from dami_merge.sampling import SamplingSettings

_SERVER_SEED_BITS = 31
"""Width of a seed that every server accepts."""


class OpenAIBackend:
    """A `Backend` on a server (the extra `sweep`).

    Every answer is a separate request with its own seed: a server that seeds each request separately
    reproduces the samples, except for the rounding of its batches.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        connection: Connection | None = None,
        *,
        count_tokens: Callable[[str], int] | None = None,
    ) -> None:
        """Configure the backend; nothing is sent yet.

        Args:
            endpoints: Maps λ to a URL and the name of a model.
            connection: How to connect; None uses the default of each setting.
            count_tokens: Counts the tokens of a text, for a server that does not report usage; None refuses
                the answers of such a server.
        """
        self._endpoints = endpoints
        self._connection = connection or Connection()
        self._count_tokens = count_tokens

    def generate(
        self, requests: Sequence[Request], sampling: SamplingSettings
    ) -> Generator[tuple[Request, Generation], None, None]:
        """Answer every request, λ by λ, each as soon as its reply arrives.

        Requests of several λ are not mixed, because a server that loads models on demand would load each
        model again and again.

        `seconds` is the wall time of a request, including its retries. The first request that fails for good
        cancels the others, after the answers that arrived before it were returned.

        Raises:
            BackendError: The openai package is not installed; or the server is unreachable, does not know the
                model, rejects the key, or returns an unusable answer.
            UsageError: A top_k is set, but the connection does not send it.
            LambdaError: The λ is not in the grid.
        """
        if sampling.temperature > 0 and sampling.top_k and not self._connection.send_top_k:
            raise UsageError(
                f"top_k is {sampling.top_k}, but the connection does not send top_k",
                hint="set top_k to 0, or use send_top_k=True",
            )
        groups = by_lambda(requests)
        endpoints = {lam: self._endpoints.of(lam) for lam in groups}
        needed("openai", "a server", extra="sweep", error=BackendError)

        def read(reply: object, seconds: float) -> Generation:
            return read_reply(
                reply, max_tokens=sampling.max_tokens, seconds=seconds, count_tokens=self._count_tokens
            )

        for lam, some in groups.items():
            work = [(request, _body(endpoints[lam], request, sampling)) for request in some]
            with closing(Exchange(endpoints[lam], self._connection, work, read)) as running:
                yield from running.results()

    def describe(self) -> dict[str, str]:
        """Return kind of backend, template of the model name and, for a grid, the digest of its weights."""
        return self._endpoints.describe()


def _body(endpoint: Endpoint, request: Request, sampling: SamplingSettings) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": endpoint.model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in request.question.messages],
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "seed": answer_seed(sampling.seed, request) % 2**_SERVER_SEED_BITS,
    }
    if sampling.temperature > 0:
        body["top_p"] = sampling.top_p
        if sampling.top_k:
            body["extra_body"] = {"top_k": sampling.top_k}
    return body
