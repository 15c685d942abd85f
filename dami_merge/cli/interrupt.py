"""Ctrl-C at a safe point: between two blocks, never inside a lock that threads share.

An interrupt that Python raises anywhere in the main thread can leave a queue or a future half-changed, and
the threads behind it then wait forever. So during work on blocks, Ctrl-C is only recorded, and the next
progress report raises it. A second Ctrl-C is raised at once.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Yield a function to call at safe points; after its first call, Ctrl-C is held until the next one.

    Outside the main thread, where no handler can be set, the function does nothing.
    """
    asked = armed = False
    before = signal.getsignal(signal.SIGINT)

    def note(_: int, __: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def check() -> None:
        nonlocal armed
        if asked:
            raise KeyboardInterrupt
        if not armed and threading.current_thread() is threading.main_thread():
            armed = True
            signal.signal(signal.SIGINT, note)

    try:
        yield check
    finally:
        if armed:
            signal.signal(signal.SIGINT, before)
