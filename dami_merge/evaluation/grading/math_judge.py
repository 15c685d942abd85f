"""Decide whether two mathematical answers are equal, with math-verify in a process of its own.

Can be used from any thread. Knows nothing about questions, nor about where in a text the answer is.
"""

import contextlib
import importlib.util
import json
import select
import subprocess
import sys
import threading
from typing import IO, Any

from dami_merge.errors import DamiMergeError
from dami_merge.optional import install_hint

LIMIT_S = 5
"""Seconds for parsing one text, and for one comparison; math-verify's own default."""

START_S = 60
END_S = 5

_COMMAND = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from dami_merge.evaluation.grading.math_worker import answer_requests; answer_requests()"
)


class MathJudge:
    """Compares answers by mathematical value. Its process starts with the first comparison.

    A comparison that takes too much time or memory (`10^{10^{10}}` is a short text) counts as not equal, and
    the process is replaced. Threads take turns.
    """

    def __init__(self, *, limit_s: int = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """Stop the process; another comparison would start it again."""
        with self._lock:
            if self._process is not None:
                with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
                    _input(self._process).close()  # an idle process exits by itself
                    self._process.wait(END_S)
            self._stop()

    def judge(self, gold: str, answer: str) -> bool:
        """Compare an answer with the correct one; both are LaTeX or plain expressions, without units.

        Raises:
            DamiMergeError: math-verify is not installed, or does not start.
        """
        request = {"gold": gold, "text": answer, "limit_s": self._limit_s}
        with self._lock:
            try:
                reply = _line(self._told(request), 4 * self._limit_s)  # the worker's own alarms fire first
            except BaseException:  # an interrupt: the next request must not read this answer
                self._stop()
                raise
            if reply is None:
                self._stop()
                return False
        return bool(reply["correct"])

    def _told(self, request: dict[str, Any]) -> "subprocess.Popen[bytes]":
        """Return the process with the request sent; if it was killed from outside, start a new one."""
        line = json.dumps(request).encode() + b"\n"
        for _ in range(2):
            if self._process is None:
                self._process = _started()
            try:
                _input(self._process).write(line)
                _input(self._process).flush()
            except BrokenPipeError:
                self._stop()
            else:
                return self._process
        raise DamiMergeError("the math-verify process exits before it receives a request")

    def _stop(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        with contextlib.suppress(BrokenPipeError), process:
            pass  # leaving the context closes the pipes and waits


def _started() -> "subprocess.Popen[bytes]":
    if importlib.util.find_spec("math_verify") is None:
        message = "grading mathematics needs math-verify, which is not installed"
        raise DamiMergeError(message, hint=install_hint("sweep"))
    process = subprocess.Popen(  # noqa: S603 - our own module, run by this interpreter
        # Isolated mode: a file in the working directory must not shadow a module that math-verify imports.
        [sys.executable, "-I", "-c", _COMMAND, json.dumps(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    if _line(process, START_S) is None:
        process.kill()
        _, said = process.communicate()
        last = said.decode(errors="replace").strip().rpartition("\n")[2]
        raise DamiMergeError(
            f"math-verify does not start: {last or 'no error message'}", hint="pip install math-verify"
        )
    return process


def _input(process: "subprocess.Popen[bytes]") -> IO[bytes]:
    assert process.stdin is not None  # noqa: S101 - a pipe was requested
    return process.stdin


def _line(process: "subprocess.Popen[bytes]", wait_s: float) -> dict[str, Any] | None:
    """Read the next line of output; None if the process ends or is silent for `wait_s` seconds."""
    assert process.stdout is not None  # noqa: S101 - a pipe was requested
    ready, _, _ = select.select([process.stdout], [], [], wait_s)
    line = process.stdout.readline() if ready else b""
    if not line:
        return None
    value: dict[str, Any] = json.loads(line)
    return value
