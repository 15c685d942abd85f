"""Ctrl-C waits for a safe point, once."""

import os
import signal
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
