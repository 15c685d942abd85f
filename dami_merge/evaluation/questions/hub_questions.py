"""Questions of a data set on the Hub, through the library `datasets` (the extra of that name)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dami_merge.errors import DamiMergeError, HubError, InputRefused, Problem, UsageError
from dami_merge.evaluation.questions.records import Record

if TYPE_CHECKING:
    from datasets import Dataset

DEFAULT_SPLIT = "test"

_SPEC = re.compile(
    r"(?P<name>[^:@]+)(?::(?P<config>[^:@]*))?(?::(?P<split>[^:@]+))?(?:@(?P<revision>[^:]+))?"
)


def hub_records(spec: str) -> list[Record]:
    """Read a data set, from the Hub or from its cache.

    Args:
        spec: `org/name[:config][:split][@revision]`; `org/name::split` names a split and no config. A local
            folder or name that `datasets` reads does too. The default split is `test`, or the only one.

    Raises:
        UsageError: `spec` is not of this form.
        HubError: There is no such data set, or it cannot be reached and is not in the cache.
        InputRefused: It has no such config, split or revision, or cannot be read.
        DamiMergeError: `datasets` is not installed.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        hint = "hf:org/name, hf:org/name:config:split, hf:org/name::split, and @revision after any"
        raise UsageError(f"hf:{spec} is no name of a data set", hint=hint)
    library = _datasets()
    with _clear_errors(library, spec), _no_progress_bars(library):
        loaded = library.load_dataset(
            match["name"], name=match["config"] or None, split=match["split"], revision=match["revision"]
        )
    rows = (_chosen(spec, loaded) if match["split"] is None else loaded).to_list()
    return [Record(f"row {number}", row) for number, row in enumerate(rows, 1)]


def _chosen(spec: str, splits: "dict[str, Dataset]") -> "Dataset":
    if DEFAULT_SPLIT in splits:
        return splits[DEFAULT_SPLIT]
    if len(splits) == 1:
        return next(iter(splits.values()))
    fact = f"hf:{spec} has no split {DEFAULT_SPLIT!r}, but {', '.join(sorted(splits))}"
    raise InputRefused(
        [Problem("questions", fact, "name one: hf:org/name:config:split, or hf:org/name::split")]
    )


def _datasets() -> Any:
    try:
        import datasets
    except ImportError as error:
        message = "questions from the Hub need datasets, which is not installed"
        raise DamiMergeError(message, hint="pip install 'dami-merge[datasets]'") from error
    return datasets


@contextmanager
def _no_progress_bars(library: Any) -> Iterator[None]:
    """A library does not draw on its caller's terminal."""
    shown = not library.are_progress_bars_disabled()
    library.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            library.enable_progress_bars()


@contextmanager
def _clear_errors(library: Any, spec: str) -> Iterator[None]:
    try:
        yield
    except (ConnectionError, TimeoutError) as error:
        hint = "go online, unset HF_HUB_OFFLINE, or download it and name its file"
        raise HubError(f"hf:{spec}: {_first_line(error)}", hint=hint) from error
    except (library.exceptions.DatasetNotFoundError, FileNotFoundError) as error:
        hint = "check the spelling and the network; a gated or private one needs `hf auth login`"
        raise HubError(f"hf:{spec}: {_first_line(error)}", hint=hint) from error
    except (library.exceptions.DatasetsError, ValueError, OSError, RuntimeError) as error:
        hint = "hf:org/name:config:split@revision; a data set that is a program must be converted first"
        raise InputRefused([Problem("questions", f"hf:{spec}: {_first_line(error)}", hint)]) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
