"""Errors: what they carry, how many reasons they show, how the command line exits."""

import pytest

from dami_merge import errors
from dami_merge.errors import DamiMergeError, InputRefused, Problem


def problems(count: int) -> list[Problem]:
    return [Problem("shape", f"fact {number}", f"way {number}") for number in range(count)]


def test_up_to_five_reasons_are_all_shown_with_their_hints() -> None:
    assert str(InputRefused(problems(5))) == "\n".join(f"fact {n} (way {n})" for n in range(5))


def test_of_more_reasons_five_are_shown_with_the_count_and_all_are_kept() -> None:
    refused = InputRefused(problems(12))
    lines = str(refused).splitlines()
    assert lines[4] == "fact 4 (way 4)"
    assert lines[5:] == ["… and 7 more (--json lists all 12)"]
    assert refused.problems == tuple(problems(12))


def test_a_reason_without_a_hint_has_no_brackets() -> None:
    assert str(InputRefused([Problem("shape", "fact")])) == "fact"


@pytest.mark.parametrize("name", ["UsageError", "LambdaError", "RecipeError"])
def test_what_was_typed_wrong_exits_with_2(name: str) -> None:
    assert getattr(errors, name).exit_code == 2


def test_everything_else_exits_with_3_and_is_one_tree() -> None:
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    assert all(issubclass(value, DamiMergeError) for value in found if issubclass(value, Exception))
    tree = [value for value in found if issubclass(value, DamiMergeError)]
    others = {value.__name__ for value in tree if value.exit_code == 3}
    assert others == {
        "DamiMergeError", "InputRefused", "OutputRefused", "DiskFull", "HubError", "DeviceUnfit",
        "GridUnreadable", "EstimatorError", "BackendError",
    }  # fmt: skip


def test_the_tree_in_the_docstring_names_every_class() -> None:
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, Exception):
            assert value.__name__ in str(errors.__doc__)


def test_an_error_keeps_its_hint_apart_from_its_message() -> None:
    error = errors.HubError("fact", hint="way")
    assert (str(error), error.hint) == ("fact", "way")
    assert errors.HubError("fact").hint == ""
