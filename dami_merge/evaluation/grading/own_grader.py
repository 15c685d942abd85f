"""A grader that the user brings: `module:function` or `file.py:function`. Runs code that the user named."""

import importlib
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from dami_merge.errors import DamiMergeError, UsageError
from dami_merge.evaluation.grading.grader import Check
from dami_merge.evaluation.questions.question import Question
from dami_merge.files import digest_bytes

_FORM = "give module:function or file.py:function, called as function(question, answer_text) -> bool"


def load_check(spec: str) -> Check:
    """Import a grader.

    It may be called from several threads at once.

    Args:
        spec: `module:function` of what can be imported, or `file.py:function`.

    Returns:
        The function; what it raises, or gives that is no bool, comes as a DamiMergeError that names it.

    Raises:
        UsageError: There is no such module, file or function, or importing it fails.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise UsageError(f"{spec!r} names no grader", hint=_FORM)
    function = getattr(_module(spec, place), name, None)
    if not callable(function):
        what = "has no" if function is None else "has, but cannot call,"
        raise UsageError(f"{spec}: {place} {what} {name!r}", hint=_FORM)

    def check(question: Question, answer_text: str) -> bool:
        where = f"{spec}, question {question.id!r}"
        try:
            correct = function(question, answer_text)
        except Exception as error:
            message = f"{where}: {type(error).__name__}: {error}"
            raise DamiMergeError(message, hint="a grader gives False for what it cannot read") from error
        if not isinstance(correct, bool):
            raise DamiMergeError(f"{where}: gave {correct!r}", hint="a grader gives True or False")
        return correct

    return check


def grader_name(spec: str) -> str:
    """What stands for a grader in the settings of a sweep: a file's with the digest of what is in it.

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


def _module(spec: str, place: str) -> ModuleType:
    path = Path(place)
    try:
        if path.suffix != ".py":
            return importlib.import_module(place)
        loader = SourceFileLoader(f"_dami_merge_grader_{path.stem}", str(path))
        module = ModuleType(loader.name)
        module.__file__ = str(path)
        sys.modules[loader.name] = module  # dataclasses look their module up there
        loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{spec}: {type(error).__name__}: {error}", hint=_FORM) from error
    return module
