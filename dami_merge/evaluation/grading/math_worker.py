"""The process that runs math-verify: one JSON line in, one JSON line out. Started only by `MathJudge`.

math-verify stops a long comparison with an alarm, which works only in the main thread of a process, and not
inside a single long integer operation. A process of its own has a main thread, and a parent that can kill it.
"""

import contextlib
import json
import logging
import os
import resource
import signal
import sys
from typing import Any

MEMORY_BYTES = 4 << 30
"""Limit of the address space; `10^(10^10)` would use all the memory there is."""


def answer_requests() -> None:
    """Answer requests until standard input ends; the first line of output says that requests may begin."""
    import math_verify

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # interrupts are for the parent, which ends this process
    logging.disable()  # math-verify logs every comparison that it gives up on
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    _write({"ready": True})
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # nobody reads stderr any longer; a full pipe would block
    for line in sys.stdin:
        _write(_compared(math_verify, **json.loads(line)))


def _write(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _compared(library: Any, *, gold: str, text: str, boxed: bool, limit_s: int) -> dict[str, Any]:
    latex = library.LatexExtractionConfig(boxed_match_priority=0)
    right = library.parse(rf"\boxed{{{gold}}}", [latex], parsing_timeout=limit_s)
    if boxed:
        found = library.parse(rf"\boxed{{{text}}}", [latex], parsing_timeout=limit_s)
    else:
        found = library.parse(text, [latex, library.ExprExtractionConfig()], parsing_timeout=limit_s)
    answer = next((value for value in found if isinstance(value, str)), None)
    return {"answer": answer, "correct": library.verify(right, found, timeout_seconds=limit_s)}
