"""Templates are programs of other people: they get bounds, and an error of theirs is an answer."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from dami_merge.checkpoint import rendering
from dami_merge.checkpoint.rendering import Rendered, one_rendered, rendered


def test_texts_come_in_order_and_whole() -> None:
    long = "λ\ud800\n" * 500_000
    assert list(rendered(str.upper, ["a", "", "ß", long])) == [
        Rendered("A"), Rendered(""), Rendered("SS"), Rendered(long.upper()),
    ]  # fmt: skip
    assert list(rendered(str.upper, [])) == []


def test_an_error_of_one_conversation_leaves_the_others() -> None:
    found = list(rendered(lambda number: str(1 // number), [1, 0, 2]))
    assert found == [
        Rendered("1"),
        Rendered("integer division or modulo by zero", "error"),
        Rendered("0"),
    ]


def _forever(_: int) -> str:
    while True:
        pass


def _huge(number: int) -> str:
    return "a" * 10**10 if number else "small"


def _long(_: int) -> str:
    return "a" * (rendering.MOST_CHARACTERS + 1)


def _idle(_: int) -> str:
    time.sleep(60)
    return ""


def _dead(_: int) -> str:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(9)
    return ""


@pytest.mark.parametrize(
    ("render", "reason"),
    [
        (_forever, "does not end within 1 s of computation"),
        (_long, "makes 67,108,865 characters, more than 67,108,864"),
        (_dead, "ends the process that runs it"),
    ],
)
def test_what_exceeds_a_bound_is_the_last_result(render: Callable[[int], str], reason: str) -> None:
    assert list(rendered(render, [1, 2], cpu_s=1)) == [Rendered(reason, "bound")]


def test_a_text_beyond_the_memory_is_refused_and_earlier_ones_are_kept() -> None:
    assert list(rendered(_huge, [0, 1, 0])) == [
        Rendered("small"),
        Rendered("needs more than 1 GiB of memory", "bound"),
    ]


def test_one_that_computes_nothing_and_says_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "WALL_S", 0.2)
    began_s = time.monotonic()
    (found,) = rendered(_idle, [1])
    assert found.refused == "bound"
    assert found.text.startswith("does not end within")
    assert time.monotonic() - began_s < 30


def test_no_process_is_left_whether_all_is_read_or_not() -> None:
    results = rendered(str, list(range(1000)))
    assert next(results) == Rendered("0")
    results.close()
    list(rendered(str, [1, 2]))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_nothing_that_a_template_changes_is_kept() -> None:
    seen: list[int] = []

    def render(number: int) -> str:
        seen.append(number)
        return str(len(seen))

    assert [each.text for each in rendered(render, [7, 8])] == ["1", "2"]
    assert seen == []


def test_an_error_without_words_is_named_by_its_class() -> None:
    def failing(_: int) -> str:
        raise KeyError

    def greedy(_: int) -> str:
        raise MemoryError

    assert one_rendered(failing, 1) == Rendered("KeyError", "error")
    assert one_rendered(greedy, 1) == Rendered("needs more than 1 GiB of memory", "bound")
    assert one_rendered(str, 1) == Rendered("1")
