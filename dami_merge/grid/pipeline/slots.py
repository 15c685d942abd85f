"""The reused buffers of a block, what still uses them, and how long that was waited for."""

import mmap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Waits:
    """What the steps of a run waited for; the largest is what bounds it.

    Attributes:
        reading_s: For blocks to be read and digested.
        computing_s: For the arithmetic, with the copies to and from an accelerator.
        writing_s: For buffers to be written and digested.
    """

    reading_s: float = 0.0
    computing_s: float = 0.0
    writing_s: float = 0.0

    def __add__(self, other: "Waits") -> "Waits":
        """Of two runs."""
        return Waits(
            self.reading_s + other.reading_s,
            self.computing_s + other.computing_s,
            self.writing_s + other.writing_s,
        )

    @contextmanager
    def counted(self, what: str) -> Iterator[None]:
        """Add the time of a `with` block to one of the three."""
        began = time.monotonic()
        try:
            yield
        finally:
            setattr(self, what, getattr(self, what) + time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class Tally:
    """How shards were made.

    Attributes:
        direct: Whether all writes bypassed the page cache.
        shared: Number of files that share a source's blocks, by a reflink or a hard link.
        waits: What the steps waited for; several devices add up.
    """

    direct: bool = True
    shared: int = 0
    waits: Waits = field(default_factory=Waits)

    def __add__(self, other: "Tally") -> "Tally":
        """The tally of both."""
        return Tally(self.direct and other.direct, self.shared + other.shared, self.waits + other.waits)


@dataclass(slots=True)
class Slot:
    """Reused buffers of one block, and what still uses them."""

    number: int
    instruct: memoryview
    thinking: memoryview
    out: memoryview
    computed: Callable[[], None]
    writes: list[Future[None]] = field(default_factory=list)

    def wait(self, waits: Waits) -> None:
        """Block until nothing uses this slot any more; an error of what used it is raised here."""
        with waits.counted("computing_s"):
            self.computed()
        with waits.counted("writing_s"):
            for write in self.writes:
                write.result()
        self.writes.clear()


def nothing() -> None:
    """What a slot waits for when nothing was begun in it."""


def new_slot(number: int, *, block_bytes: int, lambdas: int) -> Slot:
    """Buffers of one block: both inputs, and a row for every λ."""
    return Slot(
        number,
        _buffer(block_bytes),
        _buffer(block_bytes),
        _buffer(block_bytes * lambdas),
        nothing,
    )


def _buffer(size_bytes: int) -> memoryview:
    """Page-aligned, zeroed memory that is given back to the system when the last view is gone."""
    memory = mmap.mmap(-1, size_bytes)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)  # fewer page faults; a wish, not a need
    return memoryview(memory)
