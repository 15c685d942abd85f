"""A Hub on this machine for tests: enough of its API for the real huggingface_hub client, and a log."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.quiet_server import QuietServer


@dataclass
class Repo:
    """One model repository.

    Attributes:
        commits: Files of each commit by its hash.
        refs: Commit of each branch.
        listing_error: `(status, X-Error-Code)` of the API.
        file_error: `(status, X-Error-Code)` of every file.
        moves_to: What `main` points at from the second look on.
    """

    commits: dict[str, dict[str, bytes]]
    refs: dict[str, str]
    listing_error: tuple[int, str] | None = None
    file_error: tuple[int, str] | None = None
    moves_to: str = ""


@dataclass(frozen=True)
class Request:
    """One line of the log.

    Attributes:
        sent_bytes: Of the body.
        host: As the client named it, with its port.
        token: It came with an Authorization header.
        at_s: When, by the monotonic clock.
    """

    method: str
    path: str
    range: str
    sent_bytes: int
    status: int
    host: str
    token: bool
    at_s: float


@dataclass
class Hub:
    """The server's state: tests fill `repos` and read `log`.

    Attributes:
        ranges: Serves parts of files; a server that does not sends them whole.
        cut: Sends one byte less than announced when a part is asked for, and hangs up.
        cuts: So many parts are sent to their half, and the connection cut.
        faults: Statuses and headers of the next answers that would have been parts of files.
        redirects: Weight files lie with another host, `localhost` on a port of its own, under signed URLs.
        storage_tags: The other host sends an ETag.
        signature_uses: How often a signed URL is good.
        commit_claim: Commit that answers for weight files claim to be of.
        slow_s: Before a part of a file is sent.
        most_at_once: Parts that were asked for at the same time.
        html: Answers everything with a web page, as a captive portal does.
    """

    endpoint: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    log: list[Request] = field(default_factory=list)
    ranges: bool = True
    cut: bool = False
    cuts: int = 0
    faults: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    redirects: bool = False
    storage_tags: bool = True
    signature_uses: int = 1 << 30
    commit_claim: str = ""
    slow_s: float = 0
    at_once: int = 0
    most_at_once: int = 0
    html: bool = False
    storage: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    signatures: dict[int, int] = field(default_factory=dict)

    def add(self, name: str, folder: Path, commit: str = "", branch: str = "main") -> Repo:
        """Publish a folder's files as a commit of a repository."""
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        repo = self.repos.setdefault(name, Repo({}, {}))
        commit = commit or hashlib.sha1(f"{name}{len(repo.commits)}".encode()).hexdigest()
        repo.commits[commit] = files
        repo.refs[branch] = commit
        return repo

    def served_bytes(self, suffix: str) -> int:
        """Bytes of bodies sent for files whose name ends so."""
        return sum(request.sent_bytes for request in self.log if request.path.endswith(suffix))

    def asked(self, suffix: str) -> list[Request]:
        """Requests for files whose name ends so."""
        return [request for request in self.log if request.path.endswith(suffix)]


@lru_cache(maxsize=64)
def _tag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serve on a free port of the loopback device until the block ends."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    servers = [QuietServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    hub.endpoint = f"http://127.0.0.1:{servers[0].server_address[1]}"
    hub.storage = f"http://localhost:{servers[1].server_address[1]}"
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}) for server in servers
    ]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class names it
        """Stay silent; the log is `Hub.log`."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        parts = path.strip("/").split("/")
        if self.state.html:
            self._send(200, b"<html>Please sign in to this network</html>")
        elif parts[:2] == ["api", "models"] and len(parts) >= 4:
            self._api("/".join(parts[2:4]), parts[4:])
        elif len(parts) > 4 and parts[2] in {"resolve", "stored"}:
            repo = self.state.repos.get("/".join(parts[:2]))
            files = repo.commits.get(parts[3]) if repo else None
            if repo is None or files is None:
                self._error(404, "RepoNotFound")
            elif repo.file_error:
                self._error(*repo.file_error)
            elif (name := "/".join(parts[4:])) not in files:
                self._error(404, "EntryNotFound")
            elif parts[2] == "stored":
                self._stored(files[name])
            elif self.state.redirects and name.endswith(".safetensors"):
                self._redirect(parts, files[name])
            else:
                claim = self.state.commit_claim if name.endswith(".safetensors") else ""
                self._file(files[name], {"X-Repo-Commit": claim or parts[3]})
        else:
            self._error(404, "")

    def _api(self, name: str, rest: list[str]) -> None:
        repo = self.state.repos.get(name)
        if repo is None:
            return self._error(401, "RepoNotFound")
        if repo.listing_error:
            return self._error(*repo.listing_error)
        revision = "/".join(rest[1:]) if rest else "main"
        commit = repo.refs.get(revision, revision)
        if revision == "main" and repo.moves_to:
            repo.refs["main"], repo.moves_to = repo.moves_to, ""
        files = repo.commits.get(commit)
        if files is None:
            return self._error(404, "RevisionNotFound")
        if rest[:1] == ["tree"]:
            return self._json(
                [
                    {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for path, data in files.items()
                ]
            )
        siblings = [{"rfilename": path, "size": len(data)} for path, data in files.items()]
        return self._json({"id": name, "modelId": name, "sha": commit, "siblings": siblings})

    def _redirect(self, parts: list[str], data: bytes) -> None:
        """As the Hub answers for large files: facts in the headers, the bytes at a signed URL elsewhere."""
        with self.state.lock:
            signature = len(self.state.signatures)
            self.state.signatures[signature] = self.state.signature_uses
        place = "/".join([*parts[:2], "stored", *parts[3:]])
        headers = {
            "Location": f"{self.state.storage}/{place}?signature={signature}",
            "X-Linked-Etag": f'"linked-{_tag(data)}"',
            "X-Repo-Commit": self.state.commit_claim or parts[3],
        }
        self._send(302, b"", headers)

    def _stored(self, data: bytes) -> None:
        signature = int(urlsplit(self.path).query.removeprefix("signature="))
        with self.state.lock:
            self.state.signatures[signature] -= 1
            expired = self.state.signatures[signature] < 0
        if expired:
            self._send(403, b"<Error>AccessDenied</Error>")
        else:
            self._file(data, {} if self.state.storage_tags else {"ETag": ""})

    def _file(self, data: bytes, more: Mapping[str, str]) -> None:
        headers = {"ETag": f'"{_tag(data)}"', **more}
        with self.state.lock:
            fault = self.state.faults.pop(0) if self.headers.get("Range") and self.state.faults else None
        if fault:
            return self._send(fault[0], b"", fault[1])
        wanted = self.headers.get("Range", "")
        if not wanted or not self.state.ranges:
            return self._send(200, data, headers)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(data)) + 1, len(data))
        if start >= len(data):
            return self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        headers |= {"Accept-Ranges": "bytes", "Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
        return self._send(206, data[start:end], headers)

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code} if code else {})

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] = {}) -> None:
        sent = b"" if self.command == "HEAD" else body
        path = unquote(urlsplit(self.path).path)
        asked = self.headers.get("Range", "")
        host, token = self.headers.get("Host", ""), "Authorization" in self.headers
        self.state.log.append(
            Request(self.command, path, asked, len(sent), status, host, token, time.monotonic())
        )
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.state.cut and status == 206:
            sent, self.close_connection = sent[:-1], True
        with self.state.lock:
            self.state.at_once += status == 206
            self.state.most_at_once = max(self.state.most_at_once, self.state.at_once)
            if status == 206 and self.state.cuts:
                self.state.cuts -= 1
                sent, self.close_connection = sent[: len(sent) // 2], True
        if status == 206:
            time.sleep(self.state.slow_s)
            with self.state.lock:
                self.state.at_once -= 1
        self.wfile.write(sent)
