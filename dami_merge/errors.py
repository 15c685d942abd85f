"""Every exception that a caller can act on, and the exit code that goes with it.

    DamiMergeError
    ├── UsageError          what was typed cannot be meant                          exit 2
    │   ├── LambdaError     a λ outside [0, 1], not a number, or too fine
    │   └── RecipeError     a recipe that does not parse or names an unknown field
    ├── InputRefused        checkpoints that must not be interpolated, all reasons  exit 3
    ├── OutputRefused       an output folder that is not ours to write              exit 3
    ├── DiskFull            before the first byte, or on the way                    exit 3
    ├── HubError            the Hub is out of reach or says no                      exit 3
    ├── DeviceUnfit         a device that is missing or rounds differently          exit 3
    ├── GridUnreadable      a grid.json that is missing or not of the format        exit 3
    ├── EstimatorError      an estimator that raised or gave no usable λ            exit 3
    └── BackendError        what runs a model cannot be had, or gave no answer      exit 3

Messages state the fact with both values; `hint` says the way out. Knows nothing of rendering.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SHOWN_PROBLEMS = 5


class DamiMergeError(Exception):
    """Base of all errors that this package raises on purpose.

    Attributes:
        hint: The way out, one sentence; empty when the message says it already.
        exit_code: What the command line exits with.
    """

    exit_code = 3

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(DamiMergeError):
    """What was typed cannot be meant."""

    exit_code = 2


class LambdaError(UsageError):
    """A λ that is not a fraction in [0, 1] with a denominator of at most 4096."""


class RecipeError(UsageError):
    """A recipe that does not parse, or that has an unknown, missing or wrongly typed field."""


class OutputRefused(DamiMergeError):
    """The output folder is locked, not ours, or holds the work of another recipe."""


class DiskFull(DamiMergeError):
    """There is not enough free space, or it ran out on the way."""


class HubError(DamiMergeError):
    """The Hub cannot be reached, or refused."""


class DeviceUnfit(DamiMergeError):
    """The device is not there, or its arithmetic differs from the CPU's."""


class GridUnreadable(DamiMergeError):
    """There is no grid where one was expected, or its grid.json is not of the format."""


class EstimatorError(DamiMergeError):
    """An estimator raised, or gave something that is not a λ."""


class BackendError(DamiMergeError):
    """What runs a model is not installed or out of reach, says no, or gave something that is no answer."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason not to go on.

    Attributes:
        code: Stable and short, for machines: `shape`, `missing-shard`, `config`, …
        message: The fact, with both values.
        hint: The way out; may be empty.
        field: What `--allow-config` would have to name; empty where nothing can waive it.
    """

    code: str
    message: str
    hint: str = ""
    field: str = ""


class InputRefused(DamiMergeError):
    """The inputs must not be interpolated; carries every reason that was found.

    Attributes:
        problems: All of them, in the order in which they were found.
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
