"""Open a model by its name: a local folder, a Hub id, or a side of the bundled pair."""

from pathlib import Path

from dami_merge.bundled import BUNDLED_PREFIX, bundled_id, bundled_model
from dami_merge.checkpoint.folder import Checkpoint, open_folder
from dami_merge.errors import InputRefused, Problem
from dami_merge.files import reading_is_clear


@reading_is_clear()
def open_source(spec: str) -> Checkpoint:
    """Describe a model from its headers and small files, wherever it is stored.

    Args:
        spec: A folder, `org/name`, `org/name@revision`, or `bundled:tiny/instruct`. An existing folder takes
            precedence over a Hub id of the same name.

    Raises:
        InputRefused: `spec` is not one of these, or its files are not a valid checkpoint or cannot be read.
        HubError: `spec` is a Hub id that cannot be read.
    """
    if spec.startswith(BUNDLED_PREFIX):
        name = spec.removeprefix(BUNDLED_PREFIX)
        return open_folder(bundled_model(name), spec=spec, source_id=bundled_id(name))
    folder = _as_path(spec)
    if folder.is_dir():
        return open_folder(folder, spec=spec)
    from dami_merge.checkpoint.hub import HUB_ID, open_repo

    if HUB_ID.fullmatch(spec.partition("@")[0]) and not folder.exists():
        return open_repo(spec)
    what = "is a file" if folder.is_file() else "is neither an existing folder nor a Hub id"
    raise InputRefused([Problem("no-such-model", f"{spec} {what}", "give a model folder or org/name")])


def open_both(instruct: str | Checkpoint, thinking: str | Checkpoint) -> tuple[Checkpoint, Checkpoint]:
    """Open both sides of a pair, unless already open, and report the problems of both together.

    Raises:
        InputRefused: One side or both are refused; carries the problems of both.
        HubError: A Hub id cannot be read.
    """
    opened: list[Checkpoint] = []
    problems: list[Problem] = []
    for spec in (instruct, thinking):
        try:
            opened.append(spec if isinstance(spec, Checkpoint) else open_source(spec))
        except InputRefused as error:
            problems += error.problems
    if problems:
        raise InputRefused(problems)
    return opened[0], opened[1]


def fetched(checkpoint: Checkpoint) -> Checkpoint:
    """Return the same checkpoint with its weights on this disk, downloading missing weights.

    Raises:
        HubError: The download failed.
        DiskFull: The disk of the Hub's cache cannot hold the weights.
    """
    if not checkpoint.remote:
        return checkpoint
    from dami_merge.checkpoint.hub import fetch_weights

    return fetch_weights(checkpoint)


def _as_path(spec: str) -> Path:
    try:
        folder = Path(spec).expanduser()
        folder.exists()
    except (OSError, RuntimeError, ValueError) as error:  # name too long, unknown home folder, NUL byte
        message = f"{spec!r} is not a valid path: {error}"
        raise InputRefused([Problem("no-such-model", message, "give a model folder or org/name")]) from error
    return folder
