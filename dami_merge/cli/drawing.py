"""rich on the standard streams: styles are drawn, control characters in texts are not obeyed."""

import re
import sys
from collections.abc import Iterable
from io import StringIO
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from dami_merge.cli.streams import unescaped
from dami_merge.harmless import visible

_PADDING = re.compile(r"[ \t]+$", re.MULTILINE)


class Screen(Console):
    """A console that takes every string verbatim: no markup, no emoji codes, no control sequences."""

    def __init__(self, *, err: bool = False, width: int | None = None, padded: bool = True) -> None:
        """Draw on stdout, or on stderr.

        Args:
            err: Whether to draw on stderr.
            width: Columns; None asks the terminal.
            padded: Whether to keep the blanks with which tables fill their last column.
        """
        stream = unescaped(sys.stderr if err else sys.stdout)
        stream = stream if padded else _Unpadded(stream)
        super().__init__(file=stream, width=width, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:  # rich's signature, passed on
        """Turn a string into a text before it is measured, so that columns fit what is shown."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render; rich's own control segments pass.

        A `Text` has been measured by now, so that escapes may be cut at the edge of its column: whoever
        makes one of foreign text calls `visible`.
        """
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


class _Unpadded(StringIO):
    """Passes text on to a stream without blanks at the ends of lines; rich writes whole lines."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__()
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(_PADDING.sub("", text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()
