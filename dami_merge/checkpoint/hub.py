"""The only door to the network: Hub ids to folders, headers read by range before any weight is fetched.

Small files and headers first, so that a pair is refused, and a plan printed, before gigabytes move.
huggingface_hub does the work: cache, retries, resumed downloads, tokens.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dami_merge.checkpoint.folder import (
    INDEX_FILE,
    SIDECAR_PATTERNS,
    SINGLE_FILE,
    Checkpoint,
    open_folder,
)
from dami_merge.checkpoint.header import Header, header_length, parse_header, read_header
from dami_merge.errors import DiskFull, HubError, InputRefused, Problem
from dami_merge.files import free_bytes, size_text

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def open_repo(spec: str) -> Checkpoint:
    """Describe a model on the Hub from its small files and its headers.

    Args:
        spec: `org/name` or `org/name@revision`; the default revision is `main`.

    Returns:
        The checkpoint, its revision pinned to a commit; `remote` unless its weights are all in the cache.

    Raises:
        HubError: Offline and not in the cache, no such repository or revision, gated, or unreachable.
        InputRefused: The repository holds no weights that may be read.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    repo, _, revision = spec.partition("@")
    with _clear_errors(spec):
        try:
            info = HfApi().model_info(repo, revision=revision or None)
        except HfHubHTTPError:
            raise
        except (OfflineModeIsEnabled, _transport_error()) as error:
            return _cached(spec, repo, revision, error)
        commit = info.sha or ""
        names = [sibling.rfilename for sibling in info.siblings or ()]
        _refuse_without_safetensors(spec, names)
        root = Path(snapshot_download(repo, revision=commit, allow_patterns=list(SIDECAR_PATTERNS)))
    weights = [name for name in names if name.endswith(".safetensors")]
    held = all((root / name).is_file() for name in weights)

    def remote_header(name: str) -> Header:
        if (root / name).is_file():
            return read_header(root / name)
        return _header_by_range(spec, repo, commit, name)

    return open_folder(
        root,
        spec=spec,
        source_id=repo,
        revision=commit,
        remote_header=None if held else remote_header,
    )


def fetch_weights(checkpoint: Checkpoint) -> Checkpoint:
    """Download the weight files of a remote checkpoint into the Hub's cache.

    Interrupted, it goes on where it stopped. A checkpoint that is on this disk is returned as it is.

    Raises:
        HubError: The download failed.
        DiskFull: The cache's disk cannot hold the files.
    """
    if not checkpoint.remote:
        return checkpoint
    from huggingface_hub import snapshot_download

    missing = [name for name in checkpoint.files if not (checkpoint.root / name).is_file()]
    needed = sum(checkpoint.files[name].size_bytes for name in missing)
    free = free_bytes(checkpoint.root)
    if needed > free:
        raise DiskFull(
            f"downloading {checkpoint.spec} takes {size_text(needed)}, the Hub's cache has"
            f" {size_text(free)} free",
            hint="make space, or point HF_HOME at a larger disk",
        )
    with _clear_errors(checkpoint.spec):
        snapshot_download(checkpoint.source_id, revision=checkpoint.revision, allow_patterns=sorted(missing))
    local = open_folder(
        checkpoint.root,
        spec=checkpoint.spec,
        source_id=checkpoint.source_id,
        revision=checkpoint.revision,
    )
    return replace(local, spec=checkpoint.spec)


def _cached(spec: str, repo: str, revision: str, cause: Exception) -> Checkpoint:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        root = Path(snapshot_download(repo, revision=revision or None, local_files_only=True))
    except LocalEntryNotFoundError:
        raise HubError(
            f"{spec} is not in the Hub's cache, and the Hub cannot be reached",
            hint="go online, unset HF_HUB_OFFLINE, or name a local folder",
        ) from cause
    return open_folder(root, spec=spec, source_id=repo, revision=root.name)


def _header_by_range(spec: str, repo: str, commit: str, name: str) -> Header:
    from huggingface_hub import HfFileSystem

    with _clear_errors(spec):
        path = f"{repo}@{commit}/{name}"
        file_bytes = int(HfFileSystem().info(path)["size"])
        with HfFileSystem().open(path, "rb", block_size=0) as file:
            prefix = file.read(8)
            raw = prefix + file.read(header_length(prefix, file_bytes, name))
    return parse_header(raw, file_bytes, name)


def _refuse_without_safetensors(spec: str, names: list[str]) -> None:
    if SINGLE_FILE in names or INDEX_FILE in names:
        return
    pickles = sorted(name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt")))
    problem = Problem(
        "not-safetensors" if pickles else "no-weights",
        f"{spec} has no {SINGLE_FILE} and no {INDEX_FILE}"
        + (f", only {pickles[0]}, which can run code when it is read" if pickles else ""),
        "look for a revision with safetensors (the Hub's convert bot opens pull requests: @refs/pr/N)",
    )
    raise InputRefused([problem])


@contextmanager
def _clear_errors(spec: str) -> Iterator[None]:
    """Say what the Hub's errors mean for the one who typed the id."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise HubError(
            f"{spec} is gated", hint="accept its terms on its page, then `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{spec}: the repository has no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{spec} is not on the Hub, or is private",
            hint="check the spelling, or `hf auth login`; a local folder would have to exist",
        ) from error
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, _transport_error()) as error:
        raise HubError(
            f"{spec}: the Hub did not answer as it should: {error}",
            hint="try again later; a download goes on where it stopped",
        ) from error


def _transport_error() -> type[Exception]:
    """The HTTP client's base error, whichever client this release of huggingface_hub uses."""
    from huggingface_hub.errors import HfHubHTTPError

    return next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
