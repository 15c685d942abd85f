"""Decide whether two mathematical answers are equal, with math-verify in a process of its own.

Can be used from any thread. Knows nothing about questions, nor about where in a text the answer is.
"""

import importlib.util
import threading

from dami_merge.errors import DamiMergeError
from dami_merge.evaluation.grading.line_process import LineProcess
from dami_merge.optional import install_hint

LIMIT_S = 5
"""Seconds for parsing one text, and for one comparison; math-verify's own default."""

START_S = 60

_COMMAND = "from dami_merge.evaluation.grading.math_worker import answer_requests; answer_requests()"


class MathJudge:
    """Compares answers by mathematical value. Its process starts with the first comparison.

    A comparison that takes too much time or memory (`10^{10^{10}}` is a short text) counts as not equal, and
    the process is replaced. Threads take turns.
    """

    def __init__(self, *, limit_s: int = LIMIT_S) -> None:
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._process: LineProcess | None = None

    def close(self) -> None:
        """Stop the process; another comparison would start it again."""
        with self._lock:
            if self._process is not None:
                self._process.close()
                self._process = None

    def judge(self, gold: str, answer: str) -> bool:
        """Compare an answer with the correct one; both are LaTeX or plain expressions, without units.

        Raises:
            DamiMergeError: math-verify is not installed, or does not start.
        """
        request = {"gold": gold, "text": answer, "limit_s": self._limit_s}
        reply = None
        with self._lock:
            try:
                reply = self._told(request).receive(4 * self._limit_s)  # the worker's own alarms fire first
            finally:
                if reply is None:  # too slow, or an interrupt: the next request must not read this answer
                    self._stop()
        return reply is not None and bool(reply["correct"])

    def _told(self, request: dict[str, object]) -> LineProcess:
        """Return the process with the request sent; if it was killed from outside, start a new one."""
        for _ in range(2):
            if self._process is None:
                self._process = _started()
            if self._process.send(request):
                return self._process
            self._stop()
        raise DamiMergeError("the math-verify process exits before it receives a request")

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process = None


def _started() -> LineProcess:
    if importlib.util.find_spec("math_verify") is None:
        message = "grading mathematics needs math-verify, which is not installed"
        raise DamiMergeError(message, hint=install_hint("sweep"))
    process = LineProcess(_COMMAND, keep_errors=True)
    if process.receive(START_S) is None:
        last = process.last_error() or "no error message"
        raise DamiMergeError(f"math-verify does not start: {last}", hint="pip install math-verify")
    return process
