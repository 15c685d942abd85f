"""The reused buffers of a block, the work that still uses them, and the time spent waiting for that work."""

import mmap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Waits:
    """Time that a run spent waiting for each step; the largest is the bottleneck.

    Attributes:
        reading_s: Seconds spent waiting for blocks to be read and digested.
        computing_s: Seconds spent waiting for the arithmetic, including copies to and from an accelerator.
        writing_s: Seconds spent waiting for buffers to be written and digested.
    """

    reading_s: float = 0.0
    computing_s: float = 0.0
    writing_s: float = 0.0

    def __add__(self, other: "Waits") -> "Waits":
        """Add the waits of two runs."""
        return Waits(
            self.reading_s + other.reading_s,
            self.computing_s + other.computing_s,
            self.writing_s + other.writing_s,
        )

    @contextmanager
    def counted(self, what: str) -> Iterator[None]:
        """Add the time that a `with` block takes to the attribute named `what`."""
        began = time.monotonic()
        try:
            yield
        finally:
            setattr(self, what, getattr(self, what) + time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class Tally:
    """How shards were written.

    Attributes:
        direct: Whether all writes bypassed the page cache.
        shared: Number of files that share a source file's blocks, by a reflink or a hard link.
        waits: Time spent waiting for each step, summed over devices.
    """

    direct: bool = True
    shared: int = 0
    waits: Waits = field(default_factory=Waits)

    def __add__(self, other: "Tally") -> "Tally":
        """Add two tallies."""
        return Tally(self.direct and other.direct, self.shared + other.shared, self.waits + other.waits)


@dataclass(slots=True)
class Slot:
    """The reused buffers of one block, and the work that still uses them."""

    number: int
    instruct: memoryview
    thinking: memoryview
    out: memoryview
    computed: Callable[[], None]
    writes: list[Future[None]] = field(default_factory=list)

    def wait(self, waits: Waits) -> None:
        """Block until no work uses this slot any more; raise the error of work that failed."""
        with waits.counted("computing_s"):
            self.computed()
        with waits.counted("writing_s"):
            for write in self.writes:
                write.result()
        self.writes.clear()


def nothing() -> None:
    """Do nothing: the pending work of a slot in which none was started."""


def new_slot(number: int, *, block_bytes: int, lambdas: int) -> Slot:
    """Allocate the buffers of one block: both inputs, and a row for every λ."""
    return Slot(
        number,
        _buffer(block_bytes),
        _buffer(block_bytes),
        _buffer(block_bytes * lambdas),
        nothing,
    )


def _buffer(size_bytes: int) -> memoryview:
    """Allocate page-aligned, zeroed memory, which is released when its last view is gone."""
    memory = mmap.mmap(-1, size_bytes)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)  # fewer page faults; only a hint to the system
    return memoryview(memory)
