"""What a user may name as a model: a local folder, a Hub id, or a side of the bundled pair."""

from pathlib import Path

from dami_merge.bundled import BUNDLED_PREFIX, bundled_id, bundled_model
from dami_merge.checkpoint.folder import Checkpoint, open_folder
from dami_merge.errors import InputRefused, Problem


def open_source(spec: str) -> Checkpoint:
    """Read what a model says of itself, wherever it lies.

    Args:
        spec: A folder, `org/name`, `org/name@revision`, or `bundled:tiny/instruct`. An existing folder wins
            over a Hub id of the same spelling.

    Raises:
        InputRefused: It is none of these, or its files are not fit.
        HubError: It is a Hub id that cannot be read.
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
    what = "is a file" if folder.is_file() else "is no folder and does not look like a Hub id"
    raise InputRefused([Problem("no-such-model", f"{spec} {what}", "give a model folder or org/name")])


def open_both(instruct: str | Checkpoint, thinking: str | Checkpoint) -> tuple[Checkpoint, Checkpoint]:
    """Open both sides of a pair, where they are not open yet; all that is wrong is reported together.

    Raises:
        InputRefused: With the problems of both.
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
    """The same checkpoint with its weights on this disk; downloads them if they are not.

    Raises:
        HubError: The download failed.
        DiskFull: The Hub's cache has no room for it.
    """
    if not checkpoint.remote:
        return checkpoint
    from dami_merge.checkpoint.hub import fetch_weights

    return fetch_weights(checkpoint)


def _as_path(spec: str) -> Path:
    try:
        folder = Path(spec).expanduser()
        folder.exists()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, no such home folder, a NUL
        message = f"{spec!r} cannot be a folder: {error}"
        raise InputRefused([Problem("no-such-model", message, "give a model folder or org/name")]) from error
    return folder
