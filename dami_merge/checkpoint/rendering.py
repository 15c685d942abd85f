"""Run a chat template within bounds of time, memory and size.

A template is a program that somebody else wrote: it may loop without end or multiply strings. Only a process
can be stopped in the middle of one long operation, so all conversations are rendered in one forked process,
which takes milliseconds. Knows nothing about templates: it runs a function.
"""

import contextlib
import os
import resource
import select
import signal
import struct
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Literal, NoReturn, TypeVar

CPU_S = 5
"""Seconds of computation for one conversation; a usual template needs a thousandth of one."""

WALL_S = 120.0
"""Seconds of waiting for one conversation, for a machine that is busy with other work."""

RENDERING_BYTES = 1 << 30
"""Memory above that of this process."""

MOST_CHARACTERS = 1 << 26
"""Length of a text: far beyond the context of any model."""

_HEAD = struct.Struct("<cQ")

_Item = TypeVar("_Item")
Why = Literal["", "error", "bound"]
_KINDS: dict[bytes, Why] = {b"t": "", b"e": "error", b"b": "bound"}


@dataclass(frozen=True, slots=True)
class Rendered:
    """One conversation as a text, or the reason why there is none.

    Attributes:
        text: The text; the reason if there is none.
        refused: Empty for a text; `error` if the template raised an error; `bound` if it exceeded one.
    """

    text: str
    refused: Why = ""


def rendered(
    render: Callable[[_Item], str], conversations: Sequence[_Item], *, cpu_s: int = CPU_S
) -> Generator[Rendered, None, None]:
    """Render conversations, in order; the first that exceeds a bound is the last that is returned.

    Args:
        render: Renders one conversation; runs in a forked process, so that nothing that it changes is kept.
        conversations: Its arguments.
        cpu_s: Seconds of computation for each.

    Peak memory: that of the text, and `RENDERING_BYTES` in the forked process.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the process runs this function and no thread
        child = os.fork()
    if child == 0:
        _serve(render, conversations, writer, cpu_s)
    os.close(writer)
    try:
        for _ in conversations:
            result = _received(reader)
            if result is None:
                yield Rendered(_ended(child, cpu_s), "bound")
                return
            yield result
            if result.refused == "bound":
                return
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _received(reader: int) -> Rendered | None:
    """Read one result; None if the process ended or is silent for too long."""
    deadline_s = time.monotonic() + WALL_S
    head = _bytes_from(reader, _HEAD.size, deadline_s)
    if head is None:
        return None
    kind, size = _HEAD.unpack(head)
    body = _bytes_from(reader, size, deadline_s)
    if body is None:
        return None
    text = body.decode("utf-8", "surrogatepass")
    return Rendered(text, _KINDS[kind])


def _bytes_from(reader: int, count: int, deadline_s: float) -> bytes | None:
    parts = []
    while count:
        wait_s = deadline_s - time.monotonic()
        if wait_s <= 0 or not select.select([reader], [], [], wait_s)[0]:
            return None
        part = os.read(reader, min(count, 1 << 20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def _ended(child: int, cpu_s: int) -> str:
    """End the process, unless it has ended by itself, and return why there is no result."""
    os.kill(child, signal.SIGKILL)  # changes nothing for a process that has ended
    _, status = os.waitpid(child, 0)
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGXCPU:
        return f"does not end within {cpu_s} s of computation"
    if number == signal.SIGKILL:
        return f"does not end within {WALL_S:.0f} s, or needs more memory than there is"
    return "ends the process that runs it"


def _serve(
    render: Callable[[_Item], str], conversations: Sequence[_Item], writer: int, cpu_s: int
) -> NoReturn:
    """Be the forked process: render everything, and end without what this process would do at its end."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        _limit(resource.RLIMIT_CORE, 0)
        with contextlib.suppress(OSError):  # where there is no /proc, memory is not bounded
            _limit(resource.RLIMIT_AS, _mapped_bytes() + RENDERING_BYTES)
        for conversation in conversations:
            _limit(resource.RLIMIT_CPU, int(time.process_time()) + cpu_s)
            _send(writer, one_rendered(render, conversation))
    finally:
        os._exit(0)


def one_rendered(render: Callable[[_Item], str], conversation: _Item) -> Rendered:
    """Render one conversation in this process, under whatever limits it has."""
    try:
        text = render(conversation)
        if len(text) > MOST_CHARACTERS:
            return Rendered(f"makes {len(text):,} characters, more than {MOST_CHARACTERS:,}", "bound")
        return Rendered(text)
    except MemoryError:
        return Rendered(f"needs more than {RENDERING_BYTES >> 30} GiB of memory", "bound")
    except Exception as error:  # noqa: BLE001 - a template is somebody else's program, and may raise anything
        return Rendered(str(error) or type(error).__name__, "error")


def _send(writer: int, result: Rendered) -> None:
    kind = next(kind for kind, refused in _KINDS.items() if refused == result.refused)
    body = result.text.encode("utf-8", "surrogatepass")
    rest = memoryview(_HEAD.pack(kind, len(body)) + body)
    while rest:
        rest = rest[os.write(writer, rest) :]


def _limit(what: int, most: int) -> None:
    with contextlib.suppress(ValueError):  # a lower hard limit holds already
        resource.setrlimit(what, (most, resource.getrlimit(what)[1]))


def _mapped_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no path object in a forked process
        return int(file.read().split()[0]) * resource.getpagesize()
