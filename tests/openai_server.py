"""A chat completions server on this machine for tests: real HTTP, a script of faults, and a log."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.quiet_server import QuietServer

Body = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """An answer that is none; `wait_ms` becomes its retry-after-ms."""

    status: int
    body: bytes = b'{"error": {"message": "out of order"}}'
    content_type: str = "application/json"
    wait_ms: int = 1


@dataclass
class ChatServer:
    """The server's state: tests change it and read the log.

    Attributes:
        url: Its base URL, with /v1.
        models: What it has; another name is a 404.
        key: The only API key that it takes; empty takes any.
        faults: Given before anything else, the first first.
        delay_s: Before every answer.
        hold: While it is set, answers wait for it to be cleared.
        reply: Changes a whole answer.
        bodies: Of every completion that was asked for, in order.
        headers: Likewise, their names in lower case.
        most_at_once: Requests in flight at most, so far.
    """

    url: str = ""
    models: list[str] = field(default_factory=lambda: ["tiny-0.00", "tiny-0.40", "tiny-1.00"])
    key: str = ""
    faults: list[Fault] = field(default_factory=list)
    delay_s: float = 0.0
    hold: threading.Event = field(default_factory=threading.Event)
    reply: Callable[[Body, Body], object] = lambda body, answer: answer
    bodies: list[Body] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    in_flight: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def running_server() -> Iterator[ChatServer]:
    """Serve on a free port of the loopback device until the block ends."""
    state = ChatServer()

    class Handler(_Handler):
        server_state = state

    server = QuietServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        state.hold.clear()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: ChatServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it
        """Stay silent; the log is in `ChatServer`."""

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            return self._send(404, b"{}")
        data = [{"id": name, "object": "model"} for name in self.server_state.models]
        return self._send(200, json.dumps({"object": "list", "data": data}).encode())

    def do_POST(self) -> None:
        state = self.server_state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with state.lock:
            state.bodies.append(body)
            state.headers.append({name.lower(): value for name, value in self.headers.items()})
            state.paths.append(self.path)
            state.in_flight += 1
            state.most_at_once = max(state.most_at_once, state.in_flight)
            fault = state.faults.pop(0) if state.faults else None
        try:
            time.sleep(state.delay_s)
            while state.hold.is_set():
                time.sleep(0.005)
        finally:
            with state.lock:
                state.in_flight -= 1
        self._answer(body, fault)

    def _answer(self, body: Body, fault: Fault | None) -> None:
        state = self.server_state
        if fault is not None:
            return self._send(fault.status, fault.body, fault.content_type, fault.wait_ms)
        if state.key and self.headers["Authorization"] != f"Bearer {state.key}":
            return self._send(401, b'{"error": {"message": "wrong key"}}')
        if body["model"] not in state.models:
            return self._send(404, b'{"error": {"message": "no such model"}}')
        return self._send(200, json.dumps(state.reply(body, _completion(body))).encode())

    def _send(self, status: int, body: bytes, kind: str = "application/json", wait_ms: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if wait_ms:
            self.send_header("retry-after-ms", str(wait_ms))
        self.end_headers()
        self.wfile.write(body)


def _completion(body: Body) -> Body:
    """The question itself as the answer, so that answers can be told apart."""
    text = f"{body['messages'][-1]['content']} at {body['model']}"
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10},
    }
