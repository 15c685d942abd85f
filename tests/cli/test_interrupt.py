"""Ctrl-C waits for a safe point, once."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from dami_merge.cli.interrupt import interruptible


def test_an_interrupt_is_raised_at_the_next_safe_point_and_not_before() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), interruptible() as check:  # noqa: PT012 - the order is the point
        check()
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("after the signal")
        check()
        reached.append("after the safe point")
    assert reached == ["after the signal"]


def test_a_second_interrupt_does_not_wait() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt), interruptible() as check:  # noqa: PT012 - likewise
        check()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("after the second signal")
    assert reached == []


def test_before_the_first_safe_point_an_interrupt_does_not_wait() -> None:
    with pytest.raises(KeyboardInterrupt), interruptible():  # noqa: PT012 - likewise
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)


def test_the_handler_of_before_is_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as check:
        check()
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_leaves_the_handler_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with interruptible() as check:
            check()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


_FINDER = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            for _ in range({times}):
                os.kill(os.getpid(), signal.SIGINT)
        return None

sys.meta_path.insert(0, Interrupting())
sys.argv = ["dami-merge", *{arguments!r}]
from dami_merge.__main__ import start
start()
"""


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    ("module", "arguments"),
    [("click", ["--help"]), ("msgspec", ["verify", "none"]), ("torch", ["check-lmc"])],
)
def test_ctrl_c_while_modules_are_imported_ends_the_program_without_a_traceback(
    module: str, arguments: list[str], times: int
) -> None:
    code = _FINDER.format(module=module, times=times, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


_CLEANING = """
import os, signal, time
from dami_merge.cli.interrupt import arm, disarm
arm()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(9)
except KeyboardInterrupt:
    print("first", flush=True)
    {after}
    print("second", flush=True)
"""


def test_a_second_ctrl_c_while_the_first_is_handled_ends_the_program_at_once() -> None:
    code = _CLEANING.format(after="os.kill(os.getpid(), signal.SIGINT); time.sleep(9)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "first\n", "")


def test_the_third_ctrl_c_ends_work_that_holds_the_first_and_raised_the_second() -> None:
    code = (
        "import os, signal, time\n"
        "from dami_merge.cli.interrupt import arm, interruptible\n"
        "arm()\n"
        "try:\n"
        "    with interruptible() as check:\n"
        "        check()\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        print('held', flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    print('raised', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "held\nraised\n", "")


def test_ctrl_c_while_the_interpreter_stops_leaves_no_traceback() -> None:
    code = (
        "import atexit, os, signal, time\n"
        "from dami_merge.cli.interrupt import arm, disarm\n"
        "arm(); disarm()\n"
        "atexit.register(lambda: (os.kill(os.getpid(), signal.SIGINT), time.sleep(9)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def test_a_process_that_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    code = (
        "import os, signal\n"
        "from dami_merge.cli.interrupt import arm\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN); arm(); os.kill(os.getpid(), signal.SIGINT)\n"
        "print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "still here\n")


@pytest.mark.slow
def test_two_interrupts_at_any_time_leave_no_traceback() -> None:
    """From the handler on; the start of Python itself and some milliseconds after it cannot be covered."""
    code = (
        "import sys; sys.argv = ['dami-merge', 'check-lmc']\n"
        "from dami_merge.__main__ import arm, start; arm(); print('started', flush=True); start()\n"
    )
    for wait_s in [0.15 * step for step in range(20)]:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        time.sleep(wait_s)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.01)
        _, said = process.communicate(timeout=60)
        assert "Traceback" not in said, (wait_s, said)
        # done, ended by the handler, or by the signal after Python took its handlers down: 130 for a shell
        assert process.returncode in {0, 130, -signal.SIGINT}, (wait_s, said)
