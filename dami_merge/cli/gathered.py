"""Pass options of a command that belong together as one value."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

Command = Callable[..., None]


def gathered(form: type[Any], parameter: str) -> Callable[[Command], Command]:
    """Pass the options named like the fields of a class as one argument.

    Args:
        form: A dataclass or a msgspec struct, each field of which is an option of the command.
        parameter: Name of the command's parameter that receives the value.
    """
    names = tuple(getattr(form, "__struct_fields__", ())) or tuple(f.name for f in dataclasses.fields(form))

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_value(**options: Any) -> None:
            value = form(**{name: options.pop(name) for name in names})
            command(**options, **{parameter: value})

        return with_value

    return decorate
