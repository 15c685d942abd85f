"""Files declared as msgspec structs: strict YAML in, sorted JSON out. Knows nothing about specific files."""

import errno
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import msgspec

from dami_merge.errors import RecipeError
from dami_merge.files import is_special

MOST_BYTES = 1 << 20
"""A larger file is not a recipe."""

Form = TypeVar("Form", bound=msgspec.Struct)


def read_yaml(path: Path, form: type[Form], *, older: Mapping[str, str] = MappingProxyType({})) -> Form:
    """Read a YAML file into a struct; an unknown or duplicate field is an error.

    Args:
        path: The file, UTF-8.
        form: The struct that declares it.
        older: Former names of top-level fields, by which they may still be given.

    Raises:
        RecipeError: The file cannot be read or parsed, or has a field that is unknown, duplicated, missing
            or of the wrong type.
    """
    return declared_as(form, _renamed(parse_yaml(path), older), path)


def parse_yaml(path: Path) -> object:
    """Parse a YAML file as plain data, without knowing its fields.

    Raises:
        RecipeError: The file cannot be read or parsed, or has a duplicate field.
    """
    try:
        if is_special(path):
            cause = OSError(errno.EINVAL, "not a regular file")
            raise RecipeError(f"{path} is not a regular file", hint="pass the path of a YAML file") from cause
        if path.stat().st_size > MOST_BYTES:
            raise RecipeError(
                f"{path} has more than {MOST_BYTES:,} bytes", hint="it is probably another file"
            )
        text = path.read_text(encoding="utf-8-sig")
        from dami_merge.strict_yaml import parsed  # writing and checking need no YAML

        return parsed(text)
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from error
    except RecursionError as error:
        fact = f"{path} is nested too deeply"
        raise RecipeError(fact, hint="a recipe has no more than a few levels") from error
    except UnicodeDecodeError as error:
        hint = "save the file as UTF-8, for example with `iconv`"
        raise RecipeError(f"{path} is not valid UTF-8", hint=hint) from error
    except ValueError as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from error


def declared_as(form: type[Form], content: object, path: Path) -> Form:
    """Convert parsed YAML to the struct that declares it.

    Raises:
        RecipeError: A field is unknown, missing or of the wrong type, or holds half of a surrogate pair.
    """
    try:
        return _checked(msgspec.convert(content, form))
    except (msgspec.ValidationError, RecursionError, RecipeError) as error:
        fields = ", ".join(form.__struct_encode_fields__)
        raise RecipeError(f"{path}: {error}", hint=f"the known fields are {fields}") from error


def _checked(value: Form) -> Form:
    r"""Refuse half of a character, such as "\ud800": it can neither be written to a file nor tokenized."""
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError as error:
        fact = f"it holds U+{ord(error.object[error.start]):04X}, half of a surrogate pair"
        raise RecipeError(fact, hint="write the character itself") from error
    return value


def _renamed(content: object, older: Mapping[str, str]) -> object:
    if not isinstance(content, dict):
        return content
    return {older.get(key, key) if older.get(key) not in content else key: v for key, v in content.items()}


def check_fields(value: msgspec.Struct, *, apart: Collection[str] = ()) -> None:
    """Check the fields that a struct was constructed with, as if they had been read from a file.

    msgspec checks what it reads but not what a constructor is given. Values are converted as from a file: an
    int becomes the float, and a list the tuple, that is declared.

    Args:
        value: The struct, from its `__post_init__`.
        apart: Fields that are not checked.

    Raises:
        RecipeError: A field has the wrong type or is out of range.
    """
    for field in msgspec.structs.fields(value):
        if field.name not in apart:
            try:
                converted = msgspec.convert(getattr(value, field.name), field.type)
            except msgspec.ValidationError as error:
                raise RecipeError(f"{field.name}: {error}") from None
            if isinstance(converted, float) and not math.isfinite(converted):
                raise RecipeError(f"{field.name}: {converted} is not a finite number")
            msgspec.structs.force_setattr(value, field.name, converted)


def encode(value: msgspec.Struct) -> bytes:
    """Encode a struct as JSON: sorted keys, an indent of two spaces, a final newline."""
    encoder = msgspec.json.Encoder(order="sorted")
    return msgspec.json.format(encoder.encode(value), indent=2) + b"\n"
