"""Byte ranges of one remote file: retried, resumed where they broke off, never mixed from two versions.

Knows HTTP's rules and keeps where the bytes lie; who sends the requests is told (`checkpoint.hub` is).
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
"""In a row without one new byte; then the Hub is out of reach."""

FIRST_WAIT_S = 0.5
"""Before the second attempt; doubled before every further one."""

LONGEST_WAIT_S = 300.0
"""The Hub counts requests in windows of five minutes: it asks for no longer wait."""

_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_NO_RANGE = re.compile(r"bytes \*/(\d+)")
_RATE_LIMIT = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*(\d+)")


class Lost(Exception):
    """The connection broke, or was never made."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response, its body not read yet.

    Attributes:
        status: Of the last response, where others redirected to it.
        headers: Of the last response; names in lower case.
        hub_headers: Of the responses that redirected to it, the earlier ones winning.
        place: URL of the last response; signed, so for no message.
        body: The bytes as they come; raises `Lost`.
        refuse: Raises what the Hub's client makes of a status that is an error.
    """

    status: int
    headers: Mapping[str, str]
    hub_headers: Mapping[str, str]
    place: str
    body: Iterator[bytes]
    refuse: Callable[[], None]


Ask = Callable[[str, int, int, bool], AbstractContextManager[Response]]
"""Asks a URL for its bytes from `start` to `end` (exclusive), and follows redirects.

The flag says that the URL is the Hub's own: with the user's token, which no other host may see.
"""


class RemoteFile:
    """One file of a commit; several threads may read it.

    The Hub redirects to a storage host by a signed URL that expires. It is asked once for the URL, and again
    when the storage says no, so that most requests cost one round trip and do not count against its limit.
    """

    def __init__(self, spec: str, name: str, *, url: str, commit: str, ask: Ask) -> None:
        """Ask for nothing yet.

        Args:
            spec: The model as the user named it, for messages.
            name: The file's name, likewise.
            url: The Hub's own URL of it, at the commit.
            commit: The commit that the Hub has to answer for.
            ask: Sends a request.
        """
        self._spec, self._name, self._url, self._commit, self._ask = spec, name, url, commit, ask
        self._lock = threading.Lock()
        self._place = url
        self._known: dict[str, str] = {}
        self._size: int | None = None

    def first(self, count: int) -> tuple[bytes, int]:
        """The first bytes, fewer if the file ends before, and the size of the whole file.

        Raises:
            HubError: As `fill`.
        """
        buffer = bytearray(count)
        done = self._fill(0, memoryview(buffer), threading.Event())
        return bytes(buffer[:done]), self._size or 0

    def fill(self, start: int, view: memoryview, stopped: threading.Event) -> None:
        """Fill a buffer with the bytes from `start` on, in as many requests as it takes.

        Args:
            start: First byte in the file.
            view: Is filled.
            stopped: Once it is set, the rest is not waited for.

        Raises:
            HubError: The Hub refused, is out of reach after `ATTEMPTS`, or serves another file than before.
        """
        if self._fill(start, view, stopped) < len(view):
            raise self._changed("size", f"{start + len(view)} or more", str(self._size))

    def _fill(self, start: int, view: memoryview, stopped: threading.Event) -> int:
        """Like `fill`, but where the file ends the rest is left, and the bytes filled are given."""
        done = failures = 0
        while done < self._wanted(start, len(view)):
            before, reason, wait_s = done, "the answer had no bytes", 0.0
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
        """Why to ask again; empty where there is no reason to."""
        elsewhere = _origin(answer.place) != _origin(self._url)
        said = f"{urlsplit(answer.place).hostname} answered {answer.status}"
        if answer.status in _AGAIN:
            return said
        if elsewhere and 400 <= answer.status < 500 and answer.status != 416:
            with self._lock:
                if self._place == place:
                    self._place = self._url  # the signature has expired: the Hub gives a new one
            return said
        if answer.status != 416:
            answer.refuse()
        return ""

    def _admit(self, answer: Response, start: int, end: int) -> bool:
        """Whether the body is the asked part of the very file that was asked for before."""
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
        """Remember a property of the file, or compare it; every host has an ETag of its own."""
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
                hint="try again later, or take --download, which goes on where it stopped",
            )
        if asked_s > LONGEST_WAIT_S:
            raise HubError(
                f"{self._spec}: {reason}, and asks to wait {asked_s:.0f} s",
                hint="give the same command again then; `hf auth login` raises the limit",
            )
        stopped.wait(max(asked_s, FIRST_WAIT_S * 2 ** (failures - 1)))
        self._stop(stopped)

    def _stop(self, stopped: threading.Event) -> None:
        if stopped.is_set():
            raise HubError(f"{self._spec}: {self._name} was not read to its end")

    def _not_a_part(self) -> HubError:
        return HubError(
            f"{self._spec}: the Hub did not serve a part of {self._name} alone",
            hint="download it with `hf download`, and name the folder",
        )

    def _changed(self, what: str, before: str, now: str) -> HubError:
        return HubError(
            f"{self._spec}: {self._name} changed while it was read: its {what} was {before} and is {now}",
            hint="give the same command again",
        )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _asked_wait_s(answer: Response) -> float:
    """Seconds until a server wants to be asked again; 0 where it does not say."""
    if answer.status == 429 and (limit := _RATE_LIMIT.search(answer.headers.get("ratelimit", ""))):
        return float(limit[1])
    text = answer.headers.get("retry-after", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
