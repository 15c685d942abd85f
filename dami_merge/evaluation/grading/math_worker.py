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
from dataclasses import replace
from typing import Any

MEMORY_BYTES = 4 << 30
"""Limit of the address space; `10^(10^10)` would use all the memory there is."""

MOST_RELATIVE_DIFFERENCE = 1e-5
"""math-verify compares decimals to six places, however small they are: five digits must agree, too."""


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


def _compared(library: Any, *, gold: str, text: str, limit_s: int) -> dict[str, Any]:
    # Its own list of units has `d`, `o` and `way`: 5d would be 5. Units are split off before.
    plain = replace(library.LatexExtractionConfig().normalization_config, units=False)
    latex = library.LatexExtractionConfig(boxed_match_priority=0, normalization_config=plain)
    right, found = (
        library.parse(rf"\boxed{{{each}}}", [latex], parsing_timeout=limit_s) for each in (gold, text)
    )
    correct = library.verify(right, found, timeout_seconds=limit_s) and not _differs(right, found)
    return {"correct": correct}


def _differs(right: list[Any], found: list[Any]) -> bool:
    """Return whether two numbers differ in the first digits although they agree in six decimal places."""
    try:
        one, other = (abs(complex(each[0])) for each in (right, found))
    except (TypeError, ValueError, OverflowError, IndexError):
        return False  # not numbers
    return abs(one - other) > MOST_RELATIVE_DIFFERENCE * max(one, other)
