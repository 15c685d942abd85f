"""Questions from a dataset on the Hub, read with the library `datasets` (the extra of that name)."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from dami_merge.errors import HubError, InputRefused, Problem, UsageError
from dami_merge.evaluation.questions.records import Record
from dami_merge.optional import needed, without_progress_bars

if TYPE_CHECKING:
    from datasets import Dataset

DEFAULT_SPLIT = "test"

_SPEC = re.compile(
    r"(?P<name>[^:@]+)(?::(?P<config>[^:@]*))?(?::(?P<split>[^:@]+))?(?:@(?P<revision>[^:]+))?"
)


def hub_records(spec: str) -> list[Record]:
    """Read a dataset from the Hub or from the local cache.

    Args:
        spec: `org/name[:config][:split][@revision]`; `org/name::split` names a split without a config. A
            local folder, or any other name that `datasets` can load, works too. The default split is `test`,
            or the only split.

    Raises:
        UsageError: `spec` is malformed.
        HubError: The dataset does not exist, or is neither reachable nor cached.
        InputRefused: The dataset has no such config, split or revision, or cannot be read.
        DamiMergeError: `datasets` is not installed.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        hint = "use hf:org/name, hf:org/name:config:split or hf:org/name::split, optionally with @revision"
        raise UsageError(f"hf:{spec} is not a valid dataset name", hint=hint)
    library = needed("datasets", "a dataset of the Hub", extra="datasets")
    with _clear_errors(library, spec), _quiet(library):
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
    fact = f"hf:{spec} has no split {DEFAULT_SPLIT!r}; available: {', '.join(sorted(splits))}"
    raise InputRefused(
        [Problem("questions", fact, "name a split: hf:org/name:config:split or hf:org/name::split")]
    )


def _quiet(library: Any) -> AbstractContextManager[None]:
    return without_progress_bars(
        shown=not library.are_progress_bars_disabled(),
        off=library.disable_progress_bars,
        on=library.enable_progress_bars,
    )


@contextmanager
def _clear_errors(library: Any, spec: str) -> Iterator[None]:
    try:
        yield
    except (ConnectionError, TimeoutError) as error:
        hint = "go online, unset HF_HUB_OFFLINE, or download the dataset and pass its file"
        raise HubError(f"hf:{spec}: {_first_line(error)}", hint=hint) from error
    except (library.exceptions.DatasetNotFoundError, FileNotFoundError) as error:
        hint = "check the spelling and the network; a gated or private dataset needs `hf auth login`"
        raise HubError(f"hf:{spec}: {_first_line(error)}", hint=hint) from error
    except (library.exceptions.DatasetsError, ValueError, OSError, RuntimeError) as error:
        hint = (
            "use hf:org/name:config:split@revision; a dataset with a loading script must be converted first"
        )
        raise InputRefused([Problem("questions", f"hf:{spec}: {_first_line(error)}", hint)]) from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
