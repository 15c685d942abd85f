"""The user's own grader, `module:function` or `file.py:function`, in its own process with a time limit."""

import dataclasses
import threading
from pathlib import Path
from typing import NoReturn

from dami_merge.errors import DamiMergeError, UsageError
from dami_merge.evaluation.grading.line_process import LineProcess
from dami_merge.evaluation.questions.question import Question
from dami_merge.files import digest_bytes

OWN_LIMIT_S = 60.0
"""Seconds for one answer."""

LOAD_S = 600.0
"""Seconds for importing the grader, which may load a model."""

_FORM = "pass module:function or file.py:function, called as function(question, answer_text) -> bool"
_COMMAND = (
    "from dami_merge.evaluation.grading.own_worker import answer_questions; answer_questions(sys.argv[1])"
)


class OwnGrader:
    """A user's grader, as a function of the question and the text after the thinking block.

    Can be shared between threads, which take turns. Close it, or give it to a `Grader`, which closes it.
    """

    def __init__(self, spec: str, *, limit_s: float = OWN_LIMIT_S) -> None:
        """Start its process.

        Args:
            spec: `module:function` for an importable module, or `file.py:function`.
            limit_s: Seconds for one answer.

        Raises:
            UsageError: The module, file or function does not exist, or importing it fails.
        """
        self._spec, self._limit_s = spec, limit_s
        self._lock = threading.Lock()
        self._process: LineProcess | None = self._started()

    def __call__(self, question: Question, answer_text: str) -> bool:
        """Return whether an answer is correct.

        Raises:
            DamiMergeError: It raises, exits, takes too long, or returns anything but True or False; the
                message names the grader and the question.
        """
        request = dataclasses.asdict(question) | {"text": answer_text}
        reply = None
        with self._lock:
            self._process = process = self._process or self._started()
            try:
                sent = process.send(request)
                reply = process.receive(self._limit_s) if sent else None
                exit_code = process.exit_code if reply is None else None
            finally:
                if reply is None:  # also after an interrupt: the next question must not read this reply
                    process.kill()
                    self._process = None
        if reply is None or "correct" not in reply:
            self._refuse(question, reply or {}, exit_code)
        return bool(reply["correct"])

    def close(self) -> None:
        """Stop the process; another question would start it again."""
        with self._lock:
            if self._process is not None:
                self._process.close()
                self._process = None

    def _started(self) -> LineProcess:
        process = LineProcess(_COMMAND, [self._spec], keep_errors=False)
        reply = process.receive(LOAD_S)
        if reply is not None and "ready" in reply:
            return process
        exit_code = process.exit_code
        process.kill()
        ended = f"importing it ended the process (exit code {exit_code})"
        slow = f"importing it takes more than {LOAD_S:g} s"
        fact = reply["refused"] if reply else slow if exit_code is None else ended
        raise UsageError(f"{self._spec}: {fact}", hint=_FORM)

    def _refuse(self, question: Question, reply: dict[str, str], exit_code: int | None) -> NoReturn:
        where = f"{self._spec}, question {question.id!r}"
        kept = "earlier answers are kept, and the same command resumes"
        if "error" in reply:
            hint = f"a grader must return False for an answer it cannot read; {kept}"
            raise DamiMergeError(f"{where}: {reply['error']}", hint=hint)
        if "returned" in reply:
            hint = f"a grader must return True or False, such as bool(score >= 0.5); {kept}"
            raise DamiMergeError(f"{where}: returned {reply['returned']}", hint=hint)
        if exit_code is not None:
            hint = f"a grader must return True or False, and not exit; {kept}"
            raise DamiMergeError(f"{where}: ended its process (exit code {exit_code})", hint=hint)
        hint = f"make the grader faster, or raise --grader-timeout; {kept}"
        raise DamiMergeError(f"{where}: no grade within {self._limit_s:g} s", hint=hint)


def load_grader(spec: str, *, limit_s: float = OWN_LIMIT_S) -> OwnGrader:
    """Load a user's grader; see `OwnGrader`.

    Raises:
        UsageError: The module, file or function does not exist, or importing it fails.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise UsageError(f"{spec!r} does not name a grader", hint=_FORM)
    return OwnGrader(spec, limit_s=limit_s)


def grader_name(spec: str) -> str:
    """Return the name of a grader for the settings of a sweep; the name of a file includes its digest.

    Raises:
        UsageError: The file cannot be read.
    """
    path = Path(spec.rpartition(":")[0])
    if path.suffix != ".py":
        return spec
    try:
        return f"{spec}@{digest_bytes(path.read_bytes()).partition(':')[2][:16]}"
    except OSError as error:
        raise UsageError(f"{spec}: {error.strerror}", hint=_FORM) from error
