"""Ctrl-C at a safe point: between two blocks, never inside a lock that threads share.

An interrupt that Python raises anywhere in the main thread can leave a queue or a future half-changed, and
then the threads behind it wait for ever. So while blocks are worked on it is noted, and raised by the next
progress report. A second Ctrl-C does not wait.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Give a function to be called at safe points; from its first call on, Ctrl-C waits for the next.

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
