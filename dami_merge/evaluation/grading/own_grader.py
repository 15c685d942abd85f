"""The user's own grader: `module:function` or `file.py:function`. Runs the code that the user named."""

import importlib
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

from dami_merge.errors import DamiMergeError, UsageError
from dami_merge.evaluation.grading.grader import GradeFunction
from dami_merge.evaluation.questions.question import Question
from dami_merge.files import digest_bytes

_FORM = "pass module:function or file.py:function, called as function(question, answer_text) -> bool"


def load_grader(spec: str) -> GradeFunction:
    """Import a user's grader.

    It may be called from several threads at once.

    Args:
        spec: `module:function` for an importable module, or `file.py:function`.

    Returns:
        The function, wrapped: if it raises, or returns anything but a bool, the result is a DamiMergeError
        that names the grader and the question.

    Raises:
        UsageError: The module, file or function does not exist, or importing it fails.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise UsageError(f"{spec!r} does not name a grader", hint=_FORM)
    function = getattr(_module(spec, place), name, None)
    if not callable(function):
        fact = f"{place} has no {name!r}" if function is None else f"{name!r} in {place} is not callable"
        raise UsageError(f"{spec}: {fact}", hint=_FORM)

    def check(question: Question, answer_text: str) -> bool:
        where = f"{spec}, question {question.id!r}"
        try:
            correct = function(question, answer_text)
        except Exception as error:
            message = f"{where}: {type(error).__name__}: {error}"
            raise DamiMergeError(
                message, hint="a grader must return False for an answer it cannot read"
            ) from error
        if not isinstance(correct, bool):
            raise DamiMergeError(f"{where}: returned {correct!r}", hint="a grader must return True or False")
        return correct

    return check


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


def _module(spec: str, place: str) -> ModuleType:
    path = Path(place)
    try:
        if path.suffix != ".py":
            return importlib.import_module(place)
        loader = SourceFileLoader(f"_dami_merge_grader_{path.stem}", str(path))
        module = ModuleType(loader.name)
        module.__file__ = str(path)
        sys.modules[loader.name] = module  # dataclasses look up their module there
        loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{spec}: {type(error).__name__}: {error}", hint=_FORM) from error
    return module
