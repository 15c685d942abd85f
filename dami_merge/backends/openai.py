"""Asks the model of a λ on any OpenAI-compatible server, through the official client.

The client retries (408, 409, 429, 5xx, a lost connection, a time-out) with exponential back-off, and does as
`Retry-After` says up to two minutes.

Servers differ in what they honour. `transformers serve` 5.23 refuses `top_k` (422), samples only where the
checkpoint's generation_config says `do_sample`, and seeds one generator that all requests share: it repeats
itself with a concurrency of 1 only. vLLM takes what is not sent, such as a top_k that is off, from the
checkpoint's generation_config: start it with `--generation-config vllm`.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any

from dami_merge.backends.conversation import Connection, Conversation
from dami_merge.backends.reply import read_reply
from dami_merge.backends.seeds import answer_seed
from dami_merge.errors import BackendError, UsageError
from dami_merge.evaluation.generation import Generation, Request, by_lambda
from dami_merge.optional import install_hint
from dami_merge.router.endpoint import Endpoint, Endpoints
from dami_merge.sampling import SamplingSettings

_SERVER_SEED_BITS = 31
"""What every server takes."""


class OpenAIBackend:
    """A `Backend` on a server (the extra `sweep`).

    Every answer is a request of its own with a seed of its own: a server that seeds each request apart gives
    the same samples again, up to the rounding of its batches.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        connection: Connection | None = None,
        *,
        count_tokens: Callable[[str], int] | None = None,
    ) -> None:
        """Take the addresses; nothing is sent yet.

        Args:
            endpoints: From λ to a URL and a model's name.
            connection: None is the default of each setting.
            count_tokens: Of a text, for a server that does not tell; without, such a server is refused.
        """
        self._endpoints = endpoints
        self._connection = connection or Connection()
        self._count_tokens = count_tokens

    def generate(
        self, requests: Sequence[Request], sampling: SamplingSettings
    ) -> Generator[tuple[Request, Generation], None, None]:
        """Answer every request, λ by λ, each as soon as its reply is there.

        A server that loads models on demand would load them again and again if requests of several λ were
        mixed.

        `seconds` is the wall time of a request, its retries included. The first request that fails for good
        ends the others; answers that came before are given out first.

        Raises:
            BackendError: The openai package is missing; the server is out of reach, does not know the model,
                refuses the key, or gives no usable answer.
            UsageError: A top_k is set, and the connection does not send it.
            LambdaError: The grid has no such λ.
        """
        if sampling.temperature > 0 and sampling.top_k and not self._connection.send_top_k:
            raise UsageError(
                f"top_k is {sampling.top_k}, and this server is not sent any",
                hint="set top_k to 0, or send it",
            )
        groups = by_lambda(requests)
        endpoints = {lam: self._endpoints.of(lam) for lam in groups}
        _require_openai()

        def read(reply: object, seconds: float) -> Generation:
            return read_reply(
                reply, max_tokens=sampling.max_tokens, seconds=seconds, count_tokens=self._count_tokens
            )

        for lam, some in groups.items():
            work = [(request, _body(endpoints[lam], request, sampling)) for request in some]
            with closing(Conversation(endpoints[lam], self._connection, work, read)) as running:
                yield from running.results()

    def describe(self) -> dict[str, str]:
        """Kind of backend, the template of model names, and the grid's weights where a grid was given."""
        return self._endpoints.describe()


def _require_openai() -> None:
    try:
        import openai  # noqa: F401 - only whether it is there
    except ImportError as error:
        message = "asking a server needs the openai package, which is not installed"
        raise BackendError(message, hint=install_hint("sweep")) from error


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
