"""Byte ranges of one remote file: retried, resumed after a break, never mixed from two versions.

Handles HTTP ranges and redirects; the caller supplies the function that sends requests (`checkpoint.hub`).
"""

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from dami_merge.errors import HubError

ATTEMPTS = 6
"""Consecutive attempts without a new byte after which the Hub counts as unreachable."""

FIRST_WAIT_S = 0.5
"""Wait before the second attempt; doubled before each further attempt."""

LONGEST_WAIT_S = 300.0
"""Longest wait that is accepted: the Hub's rate limit counts requests in windows of five minutes."""

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_NO_RANGE = re.compile(r"bytes \*/(\d+)")
_RATE_LIMIT = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)")


class Lost(Exception):
    """The connection failed or broke off."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response whose body has not been read yet.

    Attributes:
        status: Status of the final response, after redirects.
        headers: Headers of the final response; names in lower case.
        hub_headers: Headers of the redirecting responses; earlier responses take precedence.
        place: URL of the final response; it is signed, so it must not appear in messages.
        body: The bytes as they arrive; raises `Lost`.
        refuse: Raises the Hub client's error for an error status.
    """

    status: int
    headers: Mapping[str, str]
    hub_headers: Mapping[str, str]
    place: str
    body: Iterator[bytes]
    refuse: Callable[[], None]


Ask = Callable[[str, int, int, bool], AbstractContextManager[Response]]
"""Requests the bytes of a URL from `start` to `end` (exclusive), and follows redirects.

The flag is true for the Hub's own URL, which gets the user's token; no other host may see the token.
"""


class RemoteFile:
    """One file of a commit; several threads may read it.

    The Hub redirects to a storage host through a signed URL that expires. The URL is kept and requested again
    only when the storage host rejects it, so that most requests take one round trip and do not count against
    the Hub's rate limit.
    """

    def __init__(self, spec: str, name: str, *, url: str, commit: str, ask: Ask) -> None:
        """Set up the file; sends no request yet.

        Args:
            spec: The model as the user typed it, for messages.
            name: The file's name, for messages.
            url: The Hub's own URL of the file at the commit.
            commit: The commit that the Hub's responses must report.
            ask: Sends a request.
        """
        self._spec, self._name, self._url, self._commit, self._ask = spec, name, url, commit, ask
        self._lock = threading.Lock()
        self._place = url
        self._known: dict[str, str] = {}
        self._size: int | None = None

    def first(self, count: int) -> tuple[bytes, int]:
        """Read the first `count` bytes, fewer if the file is shorter, and the size of the whole file.

        Raises:
            HubError: See `fill`.
        """
        buffer = bytearray(count)
        done = self._fill(0, memoryview(buffer), threading.Event())
        return bytes(buffer[:done]), self._size or 0

    def fill(self, start: int, view: memoryview, stopped: threading.Event) -> None:
        """Fill a buffer with the bytes from `start` on, in as many requests as needed.

        Args:
            start: Offset of the first byte in the file.
            view: Buffer to fill.
            stopped: Once set, reading stops early with an error.

        Raises:
            HubError: The Hub refused, is unreachable after `ATTEMPTS` attempts, or serves a changed file; or
                `stopped` was set.
        """
        if self._fill(start, view, stopped) < len(view):
            raise self._changed("size", f"{start + len(view)} or more", str(self._size))

    def _fill(self, start: int, view: memoryview, stopped: threading.Event) -> int:
        """Like `fill`, but stop at the end of the file; return the number of bytes filled."""
        done = failures = 0
        while done < self._wanted(start, len(view)):
            before, reason, wait_s = done, "the response was empty", 0.0
            with self._lock:
                place = self._place
            try:
                with self._ask(place, start + done, start + len(view), place == self._url) as answer:
                    refusal = self._refusal(answer, place)
                    if refusal:
                        reason, wait_s = refusal, _asked_wait_s(answer)
                    elif self._admit(answer, start + done, start + len(view)):
                        for piece in answer.body:
                            self._stop(stopped)
                            if done + len(piece) > len(view):
                                raise self._not_a_part()
                            view[done : done + len(piece)] = piece
                            done += len(piece)
            except Lost as error:
                reason = str(error) or type(error.__cause__).__name__
            if done > before:
                failures = 0
            elif done < self._wanted(start, len(view)):
                failures += 1
                self._wait(failures, reason, wait_s, stopped)
        return done

    def _wanted(self, start: int, count: int) -> int:
        return count if self._size is None else max(0, min(count, self._size - start))

    def _refusal(self, answer: Response, place: str) -> str:
        """Return the reason to retry; empty if there is none."""
        elsewhere = _origin(answer.place) != _origin(self._url)
        said = f"{urlsplit(answer.place).hostname} answered {answer.status}"
        if answer.status in _AGAIN:
            return said
        if elsewhere and 400 <= answer.status < 500 and answer.status != 416:
            with self._lock:
                if self._place == place:
                    self._place = self._url  # the signature has expired: ask the Hub for a new URL
            return said
        if answer.status != 416:
            answer.refuse()
        return ""

    def _admit(self, answer: Response, start: int, end: int) -> bool:
        """Check that the body is the requested range of the same file; False past the end of the file."""
        if answer.status == 416 and (none := _NO_RANGE.fullmatch(answer.headers.get("content-range", ""))):
            self._same("size", none[1])
            self._size = int(none[1])
            if self._size > start:
                raise self._not_a_part()
            return False
        served = _CONTENT_RANGE.fullmatch(answer.headers.get("content-range", ""))
        plain = answer.headers.get("content-encoding", "identity") == "identity"
        if answer.status != 206 or not plain or served is None:
            raise self._not_a_part()
        first, last, size = map(int, served.groups())
        if first != start or not first <= last < min(end, size):
            raise self._not_a_part()
        self._same("size", str(size))
        chain = {**answer.headers, **answer.hub_headers}
        if chain.get("x-repo-commit", self._commit) != self._commit:
            raise self._changed("commit", self._commit, chain["x-repo-commit"])
        self._same("ETag", answer.hub_headers.get("x-linked-etag", ""), of="the Hub")
        self._same("ETag", answer.headers.get("etag", ""), of=_origin(answer.place))
        with self._lock:
            self._size = size
            if _origin(answer.place) != _origin(self._url):
                self._place = answer.place
        return True

    def _same(self, what: str, value: str, *, of: str = "") -> None:
        """Remember a property of the file, or compare it with the known value; each host has its own ETag."""
        value = value.removeprefix("W/")
        if value:
            with self._lock:
                before = self._known.setdefault(f"{what} {of}", value)
            if before != value:
                raise self._changed(what, before, value)

    def _wait(self, failures: int, reason: str, asked_s: float, stopped: threading.Event) -> None:
        if failures >= ATTEMPTS:
            raise HubError(
                f"{self._spec}: {self._name} could not be read in {ATTEMPTS} attempts: {reason}",
                hint="try again later, or use --download, which resumes where it stopped",
            )
        if asked_s > LONGEST_WAIT_S:
            raise HubError(
                f"{self._spec}: {reason} and asks to wait {asked_s:.0f} s",
                hint="run the same command again after that time; `hf auth login` raises the rate limit",
            )
        stopped.wait(max(asked_s, FIRST_WAIT_S * 2 ** (failures - 1)))
        self._stop(stopped)

    def _stop(self, stopped: threading.Event) -> None:
        if stopped.is_set():
            raise HubError(f"{self._spec}: reading {self._name} was stopped")

    def _not_a_part(self) -> HubError:
        return HubError(
            f"{self._spec}: the Hub did not serve the requested byte range of {self._name}",
            hint="download the model with `hf download`, and give that folder",
        )

    def _changed(self, what: str, before: str, now: str) -> HubError:
        return HubError(
            f"{self._spec}: {self._name} changed while it was read: its {what} was {before} and is {now}",
            hint="run the same command again",
        )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _asked_wait_s(answer: Response) -> float:
    """Return the seconds that the server asks to wait before a retry; 0 if it does not say."""
    if answer.status == 429 and (limit := _RATE_LIMIT.search(answer.headers.get("ratelimit", ""))):
        return float(limit[1])
    text = answer.headers.get("retry-after", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
