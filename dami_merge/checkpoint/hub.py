"""Models on the Hub: resolve ids to folders, read headers and weights by range, download files.

The only module in `checkpoint` that uses the network. Small files and headers come first, so that a pair is
refused, or a plan printed, before gigabytes are downloaded. huggingface_hub handles cache, downloads,
connections and tokens; `checkpoint.ranges` keeps range reads exact.
"""

import glob
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
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
from dami_merge.checkpoint.ranges import Lost, RemoteFile, Response
from dami_merge.errors import DiskFull, HubError, InputRefused, Problem
from dami_merge.files import disk_full_is_clear, free_bytes, size_text

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

TIMEOUT_S = 30

FIRST_BYTES = 65_536
"""Size of the first read of every weight file; most headers are shorter, so one request is enough."""


def open_repo(spec: str) -> Checkpoint:
    """Describe a model on the Hub from its small files and headers.

    Args:
        spec: `org/name` or `org/name@revision`; the default revision is `main`.

    Returns:
        The checkpoint, with its revision pinned to a commit; `remote` unless all weights are in the cache.

    Raises:
        HubError: The repository or revision does not exist, is gated or unreachable, or is not in the cache
            while offline.
        InputRefused: The repository has no safetensors weights, or is not a valid checkpoint.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    repo, _, revision = spec.partition("@")
    with _clear_errors(spec):
        try:
            info = HfApi().model_info(repo, revision=revision or None, timeout=TIMEOUT_S)
        except HfHubHTTPError:
            raise
        except (OfflineModeIsEnabled, _transport_error()) as error:
            return _cached(spec, repo, revision, error)
        names = frozenset(sibling.rfilename for sibling in info.siblings or ())
        _refuse_unfit(spec, names)
        # By the revision's name, not by the commit, so that the cache can resolve the name offline.
        root = Path(snapshot_download(repo, revision=revision or None, allow_patterns=list(SIDECAR_PATTERNS)))
    commit = root.name
    if commit != info.sha:
        raise HubError(
            f"{spec} moved from commit {info.sha} to {commit} while it was read",
            hint="run the same command again, or pin a commit: org/name@commit",
        )

    remote_files = _remote_files(spec, repo, commit, names)

    def remote_header(name: str) -> Header:
        if (root / name).is_file():
            return read_header(root / name)
        if name not in names:
            raise InputRefused([Problem("missing-shard", f"{name} is not in the repository")])
        with _clear_errors(spec):
            return _header_by_range(remote_files[name], name)

    def remote_part(name: str, start: int, view: memoryview, stopped: threading.Event) -> None:
        with _clear_errors(spec):
            remote_files[name].fill(start, view, stopped)

    checkpoint = open_folder(root, spec=spec, source_id=repo, revision=commit, remote_header=remote_header)
    missing = bool(_missing(checkpoint))
    return replace(checkpoint, remote=missing, remote_part=remote_part if missing else None)


def fetch_weights(checkpoint: Checkpoint) -> Checkpoint:
    """Download the weight files of a remote checkpoint into the Hub's cache.

    An interrupted download is resumed.

    Raises:
        HubError: The download failed.
        DiskFull: The disk of the cache cannot hold the files.
    """
    from huggingface_hub import snapshot_download

    missing = _missing(checkpoint)
    needed = sum(checkpoint.files[name].size_bytes for name in missing)
    free = free_bytes(checkpoint.root)
    if needed > free:
        raise DiskFull(
            f"downloading {checkpoint.spec} needs {size_text(needed)}, but the disk of the Hub's cache has"
            f" {size_text(free)} free",
            hint="free some space, or point HF_HOME at a larger disk",
        )
    with _clear_errors(checkpoint.spec), disk_full_is_clear(checkpoint.root):
        snapshot_download(
            checkpoint.source_id,
            revision=checkpoint.revision,
            allow_patterns=[glob.escape(name) for name in missing],
        )
    left = _missing(checkpoint)
    if left:
        raise HubError(
            f"{checkpoint.spec}: {left[0]} was not downloaded ({len(left)} of {len(missing)} files missing)",
            hint="go online and run the same command again",
        )
    return open_folder(
        checkpoint.root,
        spec=checkpoint.spec,
        source_id=checkpoint.source_id,
        revision=checkpoint.revision,
    )


def _missing(checkpoint: Checkpoint) -> list[str]:
    return [name for name in sorted(checkpoint.files) if not (checkpoint.root / name).is_file()]


def _cached(spec: str, repo: str, revision: str, cause: Exception) -> Checkpoint:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    hint = "go online, unset HF_HUB_OFFLINE, or give a local folder"
    try:
        folder = snapshot_download(
            repo,
            revision=revision or None,
            allow_patterns=list(SIDECAR_PATTERNS),
            local_files_only=True,
        )
    except LocalEntryNotFoundError:
        message = f"{spec} is not in the Hub's cache, and the Hub is unreachable"
        raise HubError(message, hint=hint) from cause
    root = Path(folder)
    try:
        return open_folder(root, spec=spec, source_id=repo, revision=root.name)
    except InputRefused as error:
        if {problem.code for problem in error.problems} <= {"missing-shard", "no-weights"}:
            message = f"some weights of {spec} are not in the Hub's cache, and the Hub is unreachable"
            raise HubError(message, hint=hint) from cause
        raise


def _remote_files(spec: str, repo: str, commit: str, names: frozenset[str]) -> dict[str, RemoteFile]:
    from huggingface_hub import hf_hub_url

    def ask(url: str, start: int, end: int, ours: bool) -> AbstractContextManager[Response]:  # noqa: FBT001 - ranges.Ask
        return _asked(url, start, end, with_token=ours)

    return {
        name: RemoteFile(spec, name, url=hf_hub_url(repo, name, revision=commit), commit=commit, ask=ask)
        for name in names
        if name.endswith(".safetensors")
    }


def _header_by_range(file: RemoteFile, name: str) -> Header:
    raw, file_bytes = file.first(FIRST_BYTES)
    end = 8 + header_length(raw[:8], file_bytes, name)
    if end > len(raw):
        rest = bytearray(end - len(raw))
        file.fill(len(raw), memoryview(rest), threading.Event())
        raw += rest
    return parse_header(raw[:end], file_bytes, name)


@contextmanager
def _asked(url: str, start: int, end: int, *, with_token: bool) -> Iterator[Response]:
    """Request a byte range; the client drops the token when a redirect leaves the Hub's origin."""
    from huggingface_hub import get_session, hf_raise_for_status
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, but lazily exported

    headers = build_hf_headers(token=None if with_token else False)
    headers |= {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
    try:
        with get_session().stream(
            "GET", url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True
        ) as response:
            hub_headers: dict[str, str] = {}
            for earlier in reversed(response.history):
                hub_headers |= _lower(earlier.headers)
            yield Response(
                status=response.status_code,
                headers=_lower(response.headers),
                hub_headers=hub_headers,
                place=str(response.url),
                body=response.iter_raw(),
                refuse=lambda: hf_raise_for_status(response),
            )
    except HfHubHTTPError:
        raise
    except _transport_error() as error:
        raise Lost(str(error)) from error


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _refuse_unfit(spec: str, names: frozenset[str]) -> None:
    if SINGLE_FILE in names and INDEX_FILE in names:
        problem = Problem(
            "ambiguous",
            f"{spec} has both {SINGLE_FILE} and {INDEX_FILE}",
            "loaders disagree on which one to read: download the model and remove the stale one",
        )
    elif SINGLE_FILE in names or INDEX_FILE in names:
        return
    else:
        pickles = sorted(name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt")))
        problem = Problem(
            "not-safetensors" if pickles else "no-weights",
            f"{spec} has neither {SINGLE_FILE} nor {INDEX_FILE}"
            + (f", only {pickles[0]}, a pickle, which can run code when it is loaded" if pickles else ""),
            "look for a revision with safetensors (the Hub's convert bot opens pull requests: @refs/pr/N)",
        )
    raise InputRefused([problem])


@contextmanager
def _clear_errors(spec: str) -> Iterator[None]:
    """Translate the Hub's errors into messages for the user who typed the id."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise HubError(
            f"{spec} is gated", hint="accept the terms on its Hub page, then run `hf auth login`"
        ) from error
    except errors.DisabledRepoError as error:
        raise HubError(f"{spec} is disabled on the Hub", hint="use another model") from error
    except errors.RevisionNotFoundError as error:
        raise HubError(f"{spec}: the repository has no revision of this name") from error
    except errors.RepositoryNotFoundError as error:
        raise HubError(
            f"{spec} is neither a local folder nor a model on the Hub that you can access",
            hint="check the spelling, or run `hf auth login` if the model is private",
        ) from error
    except errors.RemoteEntryNotFoundError as error:
        raise HubError(
            f"{spec}: the Hub lists a file that does not exist",
            hint="try another revision: org/name@revision",
        ) from error
    except errors.HFValidationError as error:
        problem = Problem("no-such-model", f"{spec} is not a valid Hub id: {error}", "give org/name")
        raise InputRefused([problem]) from error
    except PermissionError as error:
        raise HubError(
            f"{spec}: the Hub's cache is not writable: {error.filename}",
            hint="point HF_HOME at a folder that you can write to",
        ) from error
    except (OSError, json.JSONDecodeError, _transport_error()) as error:
        if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in {401, 403}:
            raise HubError(
                f"{spec}: the Hub refused the credentials (status {error.response.status_code})",
                hint="run `hf auth login` with a token that can read the model",
            ) from error
        raise HubError(
            f"{spec}: the request to the Hub failed: {error}",
            hint="try again later (downloads resume), or set HF_HUB_OFFLINE=1 to use cached files only",
        ) from error


def _transport_error() -> type[Exception]:
    """Return the base error of the HTTP client that the installed huggingface_hub uses."""
    from huggingface_hub.errors import HfHubHTTPError

    return next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
