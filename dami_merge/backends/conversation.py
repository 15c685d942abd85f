"""Many concurrent requests to one server, from a thread that ends with its reader.

The thread runs an event loop, so that requests in flight can be cancelled at any time: closing, or Ctrl-C in
the reading thread, cancels every request and then ends the thread.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from dami_merge.backends.server_errors import explained, retries_of
from dami_merge.errors import BackendError, UsageError
from dami_merge.router.endpoint import Endpoint

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Body = dict[str, Any]
"""The arguments of one chat completion."""

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

_CONNECT_S = 10.0
_CANCEL_AGAIN_S = 0.5
_RETRIES_OF_A_500 = 2
"""Retries of an internal error while the server has answered nothing: it may not know the model."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How to connect to a server.

    Attributes:
        api_key: API key; None uses OPENAI_API_KEY, or `none` if it is not set.
        concurrency: Maximum number of requests in flight.
        retries: Maximum number of retries of one request; at most 2 for an internal error (500) of a server
            that has answered nothing yet.
        timeout_s: Seconds without a byte from the server; at most 10 s to connect.
        send_top_k: Whether to send `top_k`, which not every server accepts; if False, a set top_k is refused.
    """

    api_key: str | None = None
    concurrency: int = 32
    retries: int = 5
    timeout_s: float = 3600.0
    send_top_k: bool = True

    def __post_init__(self) -> None:
        """Refuse invalid numbers."""
        if self.concurrency < 1 or self.retries < 0 or not self.timeout_s > 0:
            raise UsageError(
                f"concurrency {self.concurrency}, retries {self.retries}, timeout {self.timeout_s} s",
                hint="they must be at least 1, at least 0, and above 0",
            )


class Exchange(Generic[Asked, Answered]):
    """All requests to one endpoint: from what is asked to what is read from each reply."""

    def __init__(
        self,
        endpoint: Endpoint,
        connection: Connection,
        work: Sequence[tuple[Asked, Body]],
        read: Callable[[object, float], Answered],
    ) -> None:
        """Start the thread and the first requests.

        Args:
            endpoint: The server and the model.
            connection: How to connect to the server.
            work: Requests, each with the body to send.
            read: Turns a reply and its wall time into an answer; runs in the thread.
        """
        self._endpoint = endpoint
        self._connection = connection
        self._work = work
        self._read = read
        self._results: SimpleQueue[tuple[Asked, Answered] | Exception] = SimpleQueue()
        self._room = asyncio.Semaphore(2 * connection.concurrency)  # a slow reader holds back new requests
        self._loop = asyncio.new_event_loop()
        self._workers: list[asyncio.Task[None]] = []
        self._answered = False
        self._asking = self._loop.create_task(self._ask_all())
        self._thread = threading.Thread(target=self._run, name="dami-merge-openai", daemon=True)
        self._thread.start()

    def results(self) -> Iterator[tuple[Asked, Answered]]:
        """Yield answers as they arrive; raise the first failure after the answers that arrived before it."""
        for _ in self._work:
            result = self._results.get()
            if isinstance(result, Exception):
                raise result
            self._loop.call_soon_threadsafe(self._room.release)
            yield result

    def close(self) -> None:
        """Cancel the requests in flight and wait for the thread to end."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_forever()
        while not self._asking.done():
            self._cancel()  # repeatedly: the client may swallow a cancellation while it connects
            self._loop.run_until_complete(asyncio.wait([self._asking], timeout=_CANCEL_AGAIN_S))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _ask_all(self) -> None:
        waiting = iter(self._work)
        try:
            async with self._client() as client:
                count = min(self._connection.concurrency, len(self._work))
                self._workers = [asyncio.create_task(self._ask_each(client, waiting)) for _ in range(count)]
                try:
                    await asyncio.gather(*self._workers)
                finally:
                    self._cancel()
                    await asyncio.gather(*self._workers, return_exceptions=True)
        except Exception as error:  # noqa: BLE001 - `results` raises it in the reading thread
            self._results.put(error)

    def _cancel(self) -> None:
        for worker in self._workers:
            worker.cancel()

    async def _ask_each(self, client: "AsyncOpenAI", waiting: Iterator[tuple[Asked, Body]]) -> None:
        for request, body in waiting:
            await self._room.acquire()
            self._results.put((request, await self._ask(client, body)))

    async def _ask(self, client: "AsyncOpenAI", body: Body) -> Answered:
        from openai import APIError

        began = time.perf_counter()
        try:
            reply: object = await client.chat.completions.create(**body)
        except APIError as error:
            raise await explained(error, client, self._endpoint, self._connection.retries) from error
        except UnicodeEncodeError as error:
            message = "a question holds a lone surrogate, which is no character and cannot be sent"
            raise BackendError(message, hint="correct the text of the question") from error
        except (ValueError, RecursionError) as error:
            message = f"{self._endpoint.base_url} returned invalid JSON: {error}"
            raise BackendError(message) from error
        return self._read(reply, time.perf_counter() - began)

    async def _give_up_early(self, response: Any) -> None:
        """Stop the client's retries of an internal error if the server has never answered."""
        if response.is_success:
            self._answered = True
        elif (
            response.status_code == 500
            and not self._answered
            and retries_of(response.request.headers) >= _RETRIES_OF_A_500
        ):
            response.headers["x-should-retry"] = "false"

    def _client(self) -> "AsyncOpenAI":
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Timeout

        wait_s = self._connection.timeout_s
        return AsyncOpenAI(
            base_url=self._endpoint.base_url,
            api_key=self._connection.api_key or os.environ.get("OPENAI_API_KEY") or "none",
            max_retries=self._connection.retries,
            timeout=Timeout(wait_s, connect=min(wait_s, _CONNECT_S)),
            http_client=DefaultAsyncHttpxClient(event_hooks={"response": [self._give_up_early]}),
        )
