"""A checkpoint folder in the Hugging Face layout: location of every tensor, config, sidecars.

Reads headers and small files only. Knows nothing about a second model, λ or torch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from threading import Event

from dami_merge.checkpoint.header import Header, TensorInfo, read_header
from dami_merge.checkpoint.json_files import read_json
from dami_merge.errors import InputRefused, Problem

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
CONFIG_FILE = "config.json"

SIDECAR_PATTERNS = (
    "*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py", "*.spm", "*.vocab",
    "additional_chat_templates/*.jinja", "LICENSE*", "NOTICE*",
)  # fmt: skip
"""Files copied byte for byte from the donor: tokenizer, templates, processors, remote code, licences."""

NOT_SIDECARS = frozenset({CONFIG_FILE, INDEX_FILE, "README.md"})
"""Files that we write for every checkpoint; they are not copied from the donor."""

HEADERS_AT_ONCE = 8
"""Maximum number of concurrent requests for the headers of a remote checkpoint."""

RemotePart = Callable[[str, int, memoryview, Event], None]
"""Fills a buffer with a remote file's bytes, starting at an offset; stops early once the event is set.

Safe to call from several threads. Raises HubError.
"""

_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_MAX_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One side of a pair, described by its headers and small files.

    Attributes:
        spec: The model as the user typed it.
        source_id: Hub id or name of the folder; never a path on this machine.
        revision: Commit on the Hub; empty for a local folder.
        root: Folder of the small files (and of the weights, unless they are still on the Hub).
        files: Header of every weight file, by name.
        config: Parsed config.json.
        sidecars: Names of the files that a merge copies, sorted.
        remote: Whether any weight file is not on this disk yet.
        remote_part: Reads the weight files that are not on this disk; None if nothing is remote.
    """

    spec: str
    source_id: str
    revision: str
    root: Path
    files: Mapping[str, Header]
    config: Mapping[str, object]
    sidecars: tuple[str, ...]
    remote: bool = False
    remote_part: RemotePart | None = field(default=None, repr=False, compare=False)

    @property
    def size_bytes(self) -> int:
        """Size of all weight files together."""
        return sum(header.size_bytes for header in self.files.values())

    def tensors(self) -> dict[str, tuple[str, TensorInfo]]:
        """Map every tensor name to the file that holds the tensor and its header entry."""
        return {
            tensor.name: (file, tensor) for file, header in self.files.items() for tensor in header.tensors
        }


def open_folder(
    root: Path,
    *,
    spec: str,
    source_id: str = "",
    revision: str = "",
    remote_header: Callable[[str], Header] | None = None,
) -> Checkpoint:
    """Describe a checkpoint folder from its config, index and weight file headers.

    Args:
        root: The folder.
        spec: The model as the user typed it, for messages.
        source_id: Hub id; the folder's name if empty.
        revision: Commit on the Hub.
        remote_header: Reads the header of a weight file that may be missing from `root`; called from several
            threads. None if every weight file must be in `root`.

    Raises:
        InputRefused: The folder is not a valid checkpoint; carries every problem found.
    """
    config = _read_config(root, spec)
    placed, problems = _weight_files(root, spec, remote=remote_header is not None)
    files: dict[str, Header] = {}
    for name, found in _headers(root, sorted(placed), remote_header):
        if isinstance(found, InputRefused):
            problems += _prefixed(spec, found.problems)
        else:
            files[name] = found
    if not problems:
        problems += _index_problems(spec, placed, files)
    sidecars, source_id = sidecar_names(root), source_id or root.resolve().name
    problems += [
        Problem("name", f"{spec}: the name {name!r} is not UTF-8", "rename it: grid.json could not hold it")
        for name in (source_id, *sidecars)
        if not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name)
    ]
    if problems:
        raise InputRefused(problems)
    return Checkpoint(
        spec=spec,
        source_id=source_id,
        revision=revision,
        root=root,
        files=files,
        config=config,
        sidecars=sidecars,
        remote=remote_header is not None,
    )


def _headers(
    root: Path, names: Sequence[str], remote_header: Callable[[str], Header] | None
) -> Iterator[tuple[str, Header | InputRefused]]:
    """Yield headers or refusals in the order of the names; the first name with a Hub error raises it."""

    def read(name: str) -> Header | InputRefused:
        try:
            return remote_header(name) if remote_header else read_header(root / name)
        except InputRefused as error:
            return error

    if remote_header is None:
        yield from zip(names, map(read, names), strict=True)
        return
    with ThreadPoolExecutor(HEADERS_AT_ONCE) as pool:
        yield from zip(names, pool.map(read, names), strict=True)


def sidecar_names(root: Path) -> tuple[str, ...]:
    """List the files in a folder that a merge copies byte for byte, as sorted POSIX paths."""
    names = {
        path.relative_to(root).as_posix()
        for pattern in SIDECAR_PATTERNS
        for path in root.glob(pattern)
        if path.is_file()
    }
    return tuple(sorted(names - NOT_SIDECARS - _other_indexes(names)))


def _other_indexes(names: Iterable[str]) -> set[str]:
    return {name for name in names if name.endswith(".index.json")}


def _read_config(root: Path, spec: str) -> Mapping[str, object]:
    if not (root / CONFIG_FILE).is_file():
        adapter = (root / "adapter_config.json").is_file()
        hint = "merge the LoRA adapter into its base model first" if adapter else "is it a model folder?"
        raise InputRefused([Problem("no-config", f"{spec} has no {CONFIG_FILE}", hint)])
    config = read_json(root / CONFIG_FILE, spec=spec)
    if not isinstance(config, dict):
        raise InputRefused([Problem("config", f"{spec}: {CONFIG_FILE} is not a JSON object")])
    return config


def _weight_files(
    root: Path, spec: str, *, remote: bool
) -> tuple[dict[str, frozenset[str] | None], list[Problem]]:
    """Map each weight file to the tensors that the index places in it (None without an index)."""
    single, index = root / SINGLE_FILE, root / INDEX_FILE
    if index.is_file():
        if single.is_file():
            return {}, [
                Problem(
                    "ambiguous",
                    f"{spec} has both {SINGLE_FILE} and {INDEX_FILE}",
                    "loaders disagree on which one to read: remove the stale one",
                )
            ]
        return _indexed_files(root, spec, remote=remote)
    if single.is_file() or remote:
        return {SINGLE_FILE: None}, []
    return {}, [_no_weights(root, spec)]


def _no_weights(root: Path, spec: str) -> Problem:
    pickles = sorted(path.name for path in root.iterdir() if path.suffix in _PICKLES)
    if pickles:
        return Problem(
            "not-safetensors",
            f"{spec} stores its weights in {pickles[0]}, a pickle, which can run code when it is loaded",
            "if you trust it, load it with transformers and call `save_pretrained`, which writes safetensors",
        )
    return Problem(
        "no-weights",
        f"{spec} has neither {SINGLE_FILE} nor {INDEX_FILE}",
        "download the whole model, or give its Hub id",
    )


def _indexed_files(
    root: Path, spec: str, *, remote: bool
) -> tuple[dict[str, frozenset[str] | None], list[Problem]]:
    try:
        content = read_json(root / INDEX_FILE, spec=spec)
    except InputRefused as error:
        return {}, list(error.problems)
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict) or not weight_map:
        return {}, [Problem("index", f"{spec}: {INDEX_FILE} has no weight_map")]
    promised: dict[str, set[str]] = {}
    problems = []
    inside = {file: _inside(file) for file in set(map(str, weight_map.values()))}  # many tensors, few files
    for tensor, file in weight_map.items():
        if not isinstance(file, str) or not inside[file]:
            message = f"{spec}: the index places {tensor!r} in {file!r}"
            problems.append(
                Problem("index-path", f"{message}, which is not a safetensors file inside the folder")
            )
        else:
            promised.setdefault(file, set()).add(tensor)
    if not remote:
        problems += [
            Problem(
                "missing-shard",
                f"{spec}: {file} is missing ({len(promised[file])} tensors)",
                "the download is incomplete: download the model again",
            )
            for file in sorted(promised)
            if not (root / file).is_file()
        ]
    if problems:
        return {}, problems
    return {file: frozenset(names) for file, names in promised.items()}, []


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    plain = "\\" not in name and name.isprintable() and name == str(path)
    short = all(len(part.encode()) <= _MAX_NAME_BYTES for part in path.parts) if plain else False
    return short and not path.is_absolute() and ".." not in path.parts and name.endswith(".safetensors")


def _index_problems(
    spec: str, placed: Mapping[str, frozenset[str] | None], files: Mapping[str, Header]
) -> list[Problem]:
    problems = []
    home: dict[str, str] = {}
    for file, header in files.items():
        held = {tensor.name for tensor in header.tensors}
        promised = placed[file]
        for name in sorted(held):
            if name in home:
                problems.append(
                    Problem("duplicate-name", f"{spec}: {name!r} is in both {home[name]} and {file}")
                )
            home[name] = file
        if promised is None:
            continue
        problems += [
            Problem("index", f"{spec}: the index places {name!r} in {file}, which lacks it")
            for name in sorted(promised - held)
        ]
        problems += [
            Problem("index", f"{spec}: {file} holds {name!r}, which the index does not place there")
            for name in sorted(held - promised)
        ]
    return problems


def _prefixed(spec: str, problems: Iterable[Problem]) -> list[Problem]:
    return [Problem(p.code, f"{spec}: {p.message}", p.hint, p.field) for p in problems]
