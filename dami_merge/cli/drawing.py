"""rich on the standard streams: styles are drawn, control characters in texts are not obeyed."""

import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from dami_merge.cli.streams import unescaped
from dami_merge.harmless import visible


class Screen(Console):
    """A console that takes every string verbatim: no markup, no emoji codes, no control sequences."""

    def __init__(self, *, err: bool = False, width: int | None = None) -> None:
        """Draw on stdout, or on stderr.

        Args:
            err: Whether to draw on stderr.
            width: Columns; None asks the terminal.
        """
        stream = unescaped(sys.stderr if err else sys.stdout)
        super().__init__(file=stream, width=width, highlight=False, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:  # rich's signature, passed on
        """Turn a string into a text before it is measured, so that columns fit what is shown."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render; rich's own control segments pass.

        A `Text` has been measured by now, so that escapes may be cut at the edge of its column: whoever makes
        one of foreign text calls `visible`.
        """
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
