"""The process that runs the user's own grader: one JSON line in, one out. Started by `OwnGrader` only.

The grader may do anything here: exit, print, read standard input, change the question, start threads, fork.
Its standard output goes to standard error: the replies have the other, and the sweep's JSON its own.
"""

import importlib
import json
import os
import reprlib
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from dami_merge.evaluation.questions.question import Message, Question

_Function = Callable[[Question, str], object]

MOST_SHOWN = 300

_ARRAYS = frozenset({"numpy", "torch", "jax", "jaxlib"})


def answer_questions(spec: str) -> None:
    """Load `module:function` or `file.py:function`, say so, and grade until standard input ends."""
    requests, replies = os.fdopen(os.dup(0), encoding="utf-8"), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    own_process = os.getpid()
    place, _, name = spec.rpartition(":")
    try:
        function = _function(place, name)
    except BaseException as error:  # noqa: BLE001 - sys.exit at import is a reason like any other
        _reply(replies, {"refused": str(error) if isinstance(error, LookupError) else _said(error)})
        return
    _reply(replies, {"ready": True})
    for line in requests:
        reply = _graded(function, json.loads(line))
        if os.getpid() != own_process:
            os._exit(0)  # the grader forked, and its child returned, too
        sys.stdout.flush()
        _reply(replies, reply)


def _function(place: str, name: str) -> _Function:
    function: object = getattr(_module(place), name, None)
    if callable(function):
        return function
    fact = f"{place} has no {name!r}" if function is None else f"{name!r} in {place} is not callable"
    raise LookupError(fact)


def _module(place: str) -> ModuleType:
    path = Path(place)
    if path.suffix != ".py":
        return importlib.import_module(place)
    loader = SourceFileLoader(f"_dami_merge_grader_{path.stem}", str(path))
    module = ModuleType(loader.name)
    module.__file__ = str(path)
    sys.modules[loader.name] = module  # dataclasses look up their module there
    loader.exec_module(module)
    return module


def _graded(function: _Function, request: dict[str, Any]) -> dict[str, Any]:
    messages = tuple(Message(**message) for message in request["messages"])
    fields = {name: request[name] for name in ("id", "answer", "group", "kind")}
    try:
        correct = _plain(function(Question(messages=messages, **fields), request["text"]))
        if isinstance(correct, bool):
            return {"correct": correct}
        return {"returned": reprlib.repr(correct)[:MOST_SHOWN]}
    except BaseException as error:  # noqa: BLE001 - sys.exit must not end a sweep as if it were done
        return {"error": _said(error)}


def _plain(value: object) -> object:
    """Return the bool in a `numpy.bool_`, an array or a tensor of one element; anything else as it is."""
    if type(value).__module__.partition(".")[0] not in _ARRAYS:
        return value
    item: Callable[[], object] | None = getattr(value, "item", None)
    held = value if item is None else item()
    return held if isinstance(held, bool) else value


def _said(error: BaseException) -> str:
    """Return an exception as one line, with the place in the grader where it was raised."""
    message = str(error)[:MOST_SHOWN]
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if len(frames) > 1 else None
    return f"{text} ({Path(last.filename).name}, line {last.lineno})" if last is not None else text


def _reply(descriptor: int, value: dict[str, Any]) -> None:
    data = memoryview(json.dumps(value).encode() + b"\n")
    while data:
        data = data[os.write(descriptor, data) :]
