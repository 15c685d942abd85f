"""Many requests to one server at once, from a thread that ends when its reader does.

The thread runs an event loop, so that what is in flight can be cancelled at any time: closing, or Ctrl-C in
the reading thread, ends every request and then the thread.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from dami_merge.backends.server_errors import explained
from dami_merge.errors import BackendError, UsageError
from dami_merge.evaluation.generation import Generation, Request
from dami_merge.router.endpoint import Endpoint

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Body = dict[str, Any]
"""The arguments of one chat completion."""

_CONNECT_S = 10.0


@dataclass(frozen=True, slots=True)
class Connection:
    """How a server is talked to.

    Attributes:
        api_key: None takes OPENAI_API_KEY, and `none` without it.
        concurrency: Requests in flight at most.
        retries: Of one request, after the first try.
        timeout_s: Without a byte from the server; to connect, 10 s at most.
        send_top_k: Not every server takes `top_k`; without it, a top_k is refused here.
    """

    api_key: str | None = None
    concurrency: int = 32
    retries: int = 5
    timeout_s: float = 3600.0
    send_top_k: bool = True

    def __post_init__(self) -> None:
        """Refuse numbers that cannot work."""
        if self.concurrency < 1 or self.retries < 0 or not self.timeout_s > 0:
            raise UsageError(
                f"concurrency {self.concurrency}, retries {self.retries}, timeout {self.timeout_s} s",
                hint="at least 1, at least 0, and above 0",
            )


class Conversation:
    """All requests to one endpoint."""

    def __init__(
        self,
        endpoint: Endpoint,
        connection: Connection,
        work: Sequence[tuple[Request, Body]],
        read: Callable[[object, float], Generation],
    ) -> None:
        """Start the thread, and the first requests.

        Args:
            endpoint: The server and the model.
            connection: How it is talked to.
            work: Requests with what is sent for them.
            read: From a reply and its wall time to an answer; runs in the thread.
        """
        self._endpoint = endpoint
        self._connection = connection
        self._work = work
        self._read = read
        self._results: SimpleQueue[tuple[Request, Generation] | Exception] = SimpleQueue()
        self._room = asyncio.Semaphore(2 * connection.concurrency)  # a slow reader slows the server down
        self._loop = asyncio.new_event_loop()
        self._workers: list[asyncio.Task[None]] = []
        self._asking = self._loop.create_task(self._ask_all())
        self._thread = threading.Thread(target=self._run, name="dami-merge-openai", daemon=True)
        self._thread.start()

    def results(self) -> Iterator[tuple[Request, Generation]]:
        """Answers as they come; the first failure is raised, after what came before it."""
        for _ in self._work:
            result = self._results.get()
            if isinstance(result, Exception):
                raise result
            self._loop.call_soon_threadsafe(self._room.release)
            yield result

    def close(self) -> None:
        """Cancel what is in flight, and wait for the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_forever()
        self._cancel()  # not `_asking`, which closes the client
        self._loop.run_until_complete(asyncio.wait([self._asking]))
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
        except Exception as error:  # noqa: BLE001 - raised by `results`, in the thread that reads
            self._results.put(error)

    def _cancel(self) -> None:
        for worker in self._workers:
            worker.cancel()

    async def _ask_each(self, client: "AsyncOpenAI", waiting: Iterator[tuple[Request, Body]]) -> None:
        for request, body in waiting:
            await self._room.acquire()
            self._results.put((request, await self._ask(client, body)))

    async def _ask(self, client: "AsyncOpenAI", body: Body) -> Generation:
        from openai import APIError

        began = time.perf_counter()
        try:
            reply: object = await client.chat.completions.create(**body)
        except APIError as error:
            raise await explained(error, client, self._endpoint, self._connection.retries) from error
        except ValueError as error:
            message = f"{self._endpoint.base_url} gave an answer that is not JSON: {error}"
            raise BackendError(message) from error
        return self._read(reply, time.perf_counter() - began)

    def _client(self) -> "AsyncOpenAI":
        from openai import AsyncOpenAI, Timeout

        wait_s = self._connection.timeout_s
        return AsyncOpenAI(
            base_url=self._endpoint.base_url,
            api_key=self._connection.api_key or os.environ.get("OPENAI_API_KEY") or "none",
            max_retries=self._connection.retries,
            timeout=Timeout(wait_s, connect=min(wait_s, _CONNECT_S)),
        )
