"""Every exception that a caller can act on, and its exit code.

    DamiMergeError
    ├── UsageError          invalid command or argument                              exit 2
    │   ├── LambdaError     λ outside [0, 1], not a number, or too fine
    │   └── RecipeError     malformed recipe, or one with an unknown field
    ├── InputRefused        inputs that must not be interpolated, with every reason  exit 3
    ├── OutputRefused       output in use, unwritable or made with other settings    exit 3
    ├── DiskFull            not enough disk space, before or during the run          exit 3
    ├── HubError            the Hub is unreachable or refuses the request            exit 3
    ├── DeviceUnfit         device missing, or rounds differently from the CPU       exit 3
    ├── GridUnreadable      grid.json missing, unreadable or malformed               exit 3
    ├── EstimatorError      no estimator, or an estimate that is not a number        exit 3
    └── BackendError        backend unavailable, or its answer unusable              exit 3

Messages state the fact with both values; `hint` says how to fix it. Rendering is left to the caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SHOWN_PROBLEMS = 5


class DamiMergeError(Exception):
    """Base class of all errors that this package raises on purpose.

    Attributes:
        hint: How to fix it, in one sentence; empty if the message says enough.
        exit_code: Exit code of the command line.
    """

    exit_code = 3

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(DamiMergeError):
    """Invalid command or argument."""

    exit_code = 2


class LambdaError(UsageError):
    """A λ that is not a fraction in [0, 1] with a denominator of at most 4096."""


class RecipeError(UsageError):
    """A recipe that cannot be parsed, or that has an unknown, missing or wrongly typed field."""


class OutputRefused(DamiMergeError):
    """The output is in use, unwritable, not created by dami-merge, or made with other settings."""


class DiskFull(DamiMergeError):
    """The disk has too little free space, or filled up during the run."""


class HubError(DamiMergeError):
    """The Hub is unreachable or refused the request."""


class DeviceUnfit(DamiMergeError):
    """The device is missing, or its arithmetic differs from the CPU's."""


class GridUnreadable(DamiMergeError):
    """The grid is missing, or its grid.json is unreadable or malformed."""


class EstimatorError(DamiMergeError):
    """A router has no estimator, or an estimate is not a finite number."""


class BackendError(DamiMergeError):
    """The backend is not installed, unreachable, refused the request, or returned an unusable answer."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason to refuse the input.

    Attributes:
        code: Short and stable, for programs: `shape`, `missing-shard`, `config`, …
        message: The fact, with both values.
        hint: How to fix it; may be empty.
        field: Name to pass to `--allow-config` to waive the problem; empty if it cannot be waived.
    """

    code: str
    message: str
    hint: str = ""
    field: str = ""


class InputRefused(DamiMergeError):
    """The inputs must not be interpolated; carries every reason found.

    Attributes:
        problems: Every reason, in the order found.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        shown = [_bullet(problem) for problem in self.problems[:SHOWN_PROBLEMS]]
        more = len(self.problems) - len(shown)
        if more > 0:
            shown.append(f"… and {more} more (--json lists all {len(self.problems)})")
        super().__init__("\n".join(shown))


def _bullet(problem: Problem) -> str:
    hint = f" ({problem.hint})" if problem.hint else ""
    return f"{problem.message}{hint}"
