"""Ctrl-C at a safe point, and never a traceback.

An interrupt that Python raises anywhere in the main thread can leave a queue or a future half-changed, and
the threads behind it then wait forever. So during work on blocks, Ctrl-C is only recorded, and the next
progress report raises it: between two blocks, never inside a lock that threads share. A second Ctrl-C is
raised at once.

In the program (`arm`), a Ctrl-C while modules are being imported ends it at once, since a library may turn
the interrupt into another error; so does every Ctrl-C after one that was raised. A run that ends at once
leaves what a killed one leaves, and can be resumed like it.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit code that a shell reports for a program ended by Ctrl-C."""

_IMPORTING = "<frozen importlib._bootstrap>"
_SHOW_CURSOR = b"\x1b[?25h"


def arm() -> None:
    """Handle Ctrl-C from now to the end of the process; a process that ignores Ctrl-C goes on ignoring it."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _raise_once)


def disarm() -> None:
    """End at once at the next Ctrl-C: the work is done, and only the interpreter has yet to stop."""
    if signal.getsignal(signal.SIGINT) is _raise_once:
        signal.signal(signal.SIGINT, _leave)


def _raise_once(_: int, frame: FrameType | None) -> None:
    if _importing(frame):
        os.write(2, b"interrupted\n")
        _leave()
    signal.signal(signal.SIGINT, _leave)
    raise KeyboardInterrupt


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False


def _leave(_: int = 0, __: FrameType | None = None) -> None:
    """End the process now, without what could be interrupted again."""
    if os.isatty(2):
        os.write(2, _SHOW_CURSOR)  # a progress bar hides it
    os._exit(INTERRUPTED)


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Yield a function to call at safe points; after its first call, Ctrl-C is held until the next one.

    Outside the main thread, where no handler can be set, the function does nothing.
    """
    asked = armed = False
    before = signal.getsignal(signal.SIGINT)
    after = _leave if before is _raise_once else before

    def note(_: int, __: FrameType | None) -> None:
        nonlocal asked
        if asked:
            signal.signal(signal.SIGINT, after)
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
            signal.signal(signal.SIGINT, after if asked else before)
