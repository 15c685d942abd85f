"""A Python process that answers one JSON line with one JSON line, with a limit on time. Not safe for threads.

Knows nothing about grading. The process leads a session of its own: Ctrl-C is for its parent, and whatever it
has started ends with it.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from typing import IO, Any

END_S = 5
"""Seconds that an idle process has to exit by itself."""

LONGEST_REPLY = 1 << 20

_PATH = "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "


class LineProcess:
    """A started process. Its first line of output, which `receive` returns, says that it is ready."""

    def __init__(self, code: str, arguments: Sequence[str] = (), *, keep_errors: bool) -> None:
        """Start it.

        Args:
            code: Python statements; the modules of this process can be imported.
            arguments: `sys.argv[1:]` of the process.
            keep_errors: Whether what it writes to standard error is kept for `last_error`, instead of shown.
        """
        self._process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - our own code
            # Isolated mode: a file in the working directory must not shadow a module that the code imports.
            [sys.executable, "-I", "-c", _PATH + code, json.dumps(sys.path), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if keep_errors else None,
            start_new_session=True,
        )
        self._received = b""
        self._finalizer = weakref.finalize(self, _kill, self._process)

    @property
    def exit_code(self) -> int | None:
        """Exit code; negative for a signal, None while the process runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(0.2)  # its output may end a moment before it does
        return None

    def send(self, request: dict[str, Any]) -> bool:
        """Send a request; False if the process has ended."""
        pipe = _pipe(self._process.stdin)
        try:
            pipe.write(json.dumps(request).encode() + b"\n")
            pipe.flush()
        except BrokenPipeError:
            return False
        return True

    def receive(self, wait_s: float) -> dict[str, Any] | None:
        """Return the next reply; None if the process ends, or does not finish a line in `wait_s` seconds."""
        pipe, until_s = _pipe(self._process.stdout), time.monotonic() + wait_s
        while b"\n" not in self._received:
            ready, _, _ = select.select([pipe], [], [], max(until_s - time.monotonic(), 0))
            read = os.read(pipe.fileno(), 1 << 16) if ready else b""
            if not read or len(self._received) > LONGEST_REPLY:
                return None
            self._received += read
        line, _, self._received = self._received.partition(b"\n")
        value: dict[str, Any] = json.loads(line)
        return value

    def last_error(self) -> str:
        """Kill the process and return the last line that it wrote to standard error."""
        self._process.kill()
        _, said = self._process.communicate()
        return said.decode(errors="replace").strip().rpartition("\n")[2]

    def close(self) -> None:
        """Let an idle process exit by itself, else kill it."""
        with contextlib.suppress(BrokenPipeError, subprocess.TimeoutExpired):
            _pipe(self._process.stdin).close()
            self._process.wait(END_S)
        self.kill()

    def kill(self) -> None:
        """Kill the process and what it has started, and wait for it."""
        self._finalizer()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(BrokenPipeError), process:
        pass  # leaving the context closes the pipes and waits


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # noqa: S101 - a pipe was requested
    return pipe
