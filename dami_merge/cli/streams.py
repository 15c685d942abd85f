"""Standard output and error: text is made harmless, and a stream that fails says which one it is.

Whoever writes to `sys.stdout` or `sys.stderr` (click, warnings, logs and progress bars of libraries) passes
here. Only what draws (rich, through `unescaped`) writes control sequences, and makes the text between them
harmless itself.
"""

import contextlib
import io
import os
import re
import sys
from pathlib import Path
from typing import TextIO

from dami_merge.harmless import visible

_ASCII = frozenset({"ascii", "us-ascii", "ansi_x3.4-1968"})

_REDRAW = re.compile(r"\r(\x1b\[K)?|(\x1b\[A)+\Z")
"""What progress bars write: to the start of the line, erase it, up. Harmless where a write begins."""


class StreamLost(OSError):
    """A standard stream cannot be written; `filename` is its name."""


class Stream(io.TextIOWrapper):
    """A standard stream that escapes control characters.

    Attributes:
        drawing: The same stream without escaping.
    """

    def __init__(self, stream: io.TextIOWrapper, *, escapes: bool = True) -> None:
        """Wrap a stream that stays open; the wrapper holds nothing back.

        Args:
            stream: The stream. What its encoding cannot express becomes `?`; ASCII becomes UTF-8, as in
                click.
            escapes: Whether to escape control characters.
        """
        super().__init__(
            stream.buffer,
            encoding="utf-8" if stream.encoding.lower() in _ASCII else stream.encoding,
            errors="replace",  # a terminal that cannot print λ must not stop the program
            line_buffering=stream.line_buffering,
            write_through=True,
        )
        self._stream = stream  # it would close the buffer on being collected
        self._escapes = escapes
        self.drawing = Stream(stream, escapes=False) if escapes else self

    def write(self, text: str, /) -> int:
        """Write a text.

        Raises:
            StreamLost: The system refuses it.
        """
        start = _REDRAW.match(text)
        end = start.end() if start else 0
        try:
            super().write(text[:end] + visible(text[end:]) if self._escapes else text)
        except OSError as error:
            raise StreamLost(error.errno, error.strerror, self.name) from error
        return len(text)

    def flush(self) -> None:
        """Pass everything on to the system.

        Raises:
            StreamLost: The system refuses it.
        """
        try:
            super().flush()
        except OSError as error:
            raise StreamLost(error.errno, error.strerror, self.name) from error


def harden_streams() -> None:
    """Replace the standard streams of this process; a closed one becomes the null device."""
    for number in range(3):  # a file that is opened later must not get the number of a standard stream
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _hardened(sys.stdout)
    sys.stderr = _hardened(sys.stderr)


def _hardened(stream: TextIO | None) -> TextIO:
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    return Stream(stream) if isinstance(stream, io.TextIOWrapper) else stream


def unescaped(stream: TextIO) -> TextIO:
    """Return the stream for whoever draws with control sequences and makes texts harmless itself."""
    return stream.drawing if isinstance(stream, Stream) else stream


def mute(stream: TextIO) -> None:
    """Send a stream that failed to the null device, so that what it still holds does not fail again."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
