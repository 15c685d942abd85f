"""A rollouts file: one line a sample, appended, never half of one. Beside it lies what it was made with.

A line is handed to the system before the next is made, so that whatever ends a run leaves whole lines and at
most one torn end, which the next run cuts off and makes again.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from dami_merge.errors import InputRefused, OutputRefused, Problem
from dami_merge.evaluation.questions.question import Question
from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.rollouts import Rollouts
from dami_merge.files import digest_bytes, disk_full_is_clear, locked, write_durable
from dami_merge.sampling import SamplingSettings

SETTINGS_SUFFIX = ".settings.json"

_FIRST_FIELDS = frozenset({"backend", "grader", "temperature", "top_p", "top_k", "max_tokens", "seed"})
"""Those of the first release, which every digest covers."""

Key = tuple[str, str, int]
"""λ as `p/q`, question, sample."""


class Settings(SamplingSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What must be equal for two samples to stand in one table; the sampling parameters are fields of it.

    Attributes:
        backend: Kind, models and their digests.
        grader: Name of what grades.
    """

    backend: dict[str, str]
    grader: str

    def digest(self) -> str:
        """The sixteen hexadecimal digits that every line carries."""
        text = digest_bytes(msgspec.json.encode(self._digested(), order="sorted"))
        return text.partition(":")[2][:16]

    def _digested(self) -> dict[str, object]:
        """A parameter that a later release adds counts only where it is used: older digests stay valid."""
        unused = SamplingSettings()
        return {
            name: value
            for name, value in msgspec.structs.asdict(self).items()
            if name in _FIRST_FIELDS or value != getattr(unused, name, None)
        }


class Sidecar(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole file beside the rollouts: settings, and every question that was asked."""

    settings: Settings
    questions: dict[str, Question]


def settings_of(backend: Mapping[str, str], grader: str, sampling: SamplingSettings) -> Settings:
    """The settings of a run; the number of samples is not among them, since more may be added later."""
    return Settings(backend=dict(backend), grader=grader, **msgspec.structs.asdict(sampling))


def sidecar_path(path: Path) -> Path:
    """Where the settings of a rollouts file lie: `r.jsonl.settings.json`."""
    return path.with_name(path.name + SETTINGS_SUFFIX)


def read_sidecar(path: Path) -> Sidecar:
    """What a rollouts file was made with.

    Raises:
        InputRefused: It is missing or of another form.
    """
    file = sidecar_path(path)
    try:
        return msgspec.json.decode(file.read_bytes(), type=Sidecar)
    except OSError as error:
        raise _refused(f"{file}: {error.strerror}", "it is written beside the rollouts: move both") from error
    except msgspec.MsgspecError as error:
        raise _refused(f"{file}: {error}", "was it written by another release?") from error


def read_rollouts(path: str | Path) -> Rollouts:
    """Every whole line of a rollouts file, in its order; a torn end is left out.

    Raises:
        InputRefused: It cannot be read, or lines are of another form or twice there; all are named.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _refused(f"{path}: {error.strerror}", "`dami-merge sweep` writes it") from error
    rows: list[Rollout] = []
    problems: list[Problem] = []
    seen: dict[Key, int] = {}
    decoder = msgspec.json.Decoder(Rollout)
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            row = decoder.decode(line)
        except msgspec.MsgspecError as error:
            problems.append(Problem("rollout", f"{path}, line {number}: {error}", "take the line out"))
            continue
        first = seen.setdefault(_key(row), number)
        if first != number:
            what = f"{path}, lines {first} and {number} are the same sample"
            problems.append(Problem("rollout", what, "take one out"))
        rows.append(row)
    if problems:
        raise InputRefused(problems)
    return Rollouts(rows)


class RolloutsFile:
    """A rollouts file that one run appends to; made by `open_rollouts`."""

    def __init__(self, descriptor: int, path: Path, done: Iterable[Key], settings: str) -> None:
        self._descriptor = descriptor
        self._path = path
        self._done = set(done)
        self.settings = settings

    @property
    def done(self) -> int:
        """Number of samples in it."""
        return len(self._done)

    def holds(self, fraction: str, question: str, sample: int) -> bool:
        """Whether a sample is there."""
        return (fraction, question, sample) in self._done

    def append(self, row: Rollout) -> None:
        """Add a line.

        Raises:
            DiskFull: There is no room; the torn line is cut off when the file is next opened.
        """
        if _key(row) in self._done:
            raise ValueError(f"{_key(row)} is there already")
        line = memoryview(msgspec.json.encode(row) + b"\n")
        with disk_full_is_clear(self._path.absolute().parent):
            while line:
                line = line[os.write(self._descriptor, line) :]
        self._done.add(_key(row))

    def make_durable(self) -> None:
        """Wait until all lines survive a loss of power."""
        os.fsync(self._descriptor)


@contextmanager
def open_rollouts(path: Path, settings: Settings, questions: Iterable[Question]) -> Iterator[RolloutsFile]:
    """Open a rollouts file to go on with it, or begin it.

    Args:
        path: The file; its folder must be there.
        settings: Of this run; must be those of the file.
        questions: Of this run; those that the file knows already must be the same.

    Raises:
        OutputRefused: Another run works on it, settings or questions are others, or it cannot be written.
        InputRefused: What is there is no rollouts file.
        DiskFull: There is no room.

    What is refused is left as it was.
    """
    asked = {question.id: question for question in questions}
    with locked(path.with_name(f".{path.name}.lock"), what=path):
        known: dict[str, Question] = {}
        if path.exists() or sidecar_path(path).exists():
            known = _refuse_mixture(path, settings, asked)
        rows = read_rollouts(path) if path.exists() else ()
        if not asked.keys() <= known.keys():
            sidecar = Sidecar(settings=settings, questions={**known, **asked})
            encoded = msgspec.json.Encoder(order="sorted").encode(sidecar)
            write_durable(sidecar_path(path), msgspec.json.format(encoded, indent=2) + b"\n")
        descriptor = _opened(path)
        try:
            _cut_torn_end(path, descriptor)
            yield RolloutsFile(descriptor, path, map(_key, rows), settings.digest())
        finally:
            os.fsync(descriptor)
            os.close(descriptor)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise OutputRefused(
            f"{path} cannot be written: {error.strerror}", hint="make it writable, or name another file"
        ) from error


def _cut_torn_end(path: Path, descriptor: int) -> None:
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        os.ftruncate(descriptor, content.rfind(b"\n") + 1)


def _refuse_mixture(path: Path, settings: Settings, asked: Mapping[str, Question]) -> dict[str, Question]:
    """The questions that the file knows."""
    sidecar = read_sidecar(path)
    before, now = msgspec.to_builtins(sidecar.settings), msgspec.to_builtins(settings)
    changes = [f"{name} was {before[name]}, is {now[name]}" for name in before if before[name] != now[name]]
    changes += [
        f"question {name!r} was another"
        for name, question in sorted(asked.items())
        if sidecar.questions.get(name, question) != question
    ]
    if changes:
        more = f" (and {len(changes) - 5} more)" if len(changes) > 5 else ""
        raise OutputRefused(
            f"{path} was made with other settings: " + "; ".join(changes[:5]) + more,
            hint="take the same settings, or another file: samples of both would not compare",
        )
    return sidecar.questions


def _key(row: Rollout) -> Key:
    return row.fraction, row.question, row.sample


def _refused(message: str, hint: str) -> InputRefused:
    return InputRefused([Problem("rollouts", message, hint)])
