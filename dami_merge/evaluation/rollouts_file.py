"""A rollouts file: one appended line per sample, and beside the file a sidecar with settings and questions.

Each line is passed to the operating system before the next is made. So however a run ends, it leaves complete
lines and at most one incomplete line at the end, which the next run removes and makes again.
"""

import codecs
import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from dami_merge.errors import InputRefused, OutputRefused, Problem
from dami_merge.evaluation.questions.question import Question
from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.rollouts import Rollouts
from dami_merge.files import digest_bytes, disk_full_is_clear, is_special, locked, write_durable
from dami_merge.lambdas import fraction_text
from dami_merge.sampling import SamplingSettings

SETTINGS_SUFFIX = ".settings.json"

_FIRST_FIELDS = frozenset({"backend", "grader", "temperature", "top_p", "top_k", "max_tokens", "seed"})
"""Fields of the first release, which every digest covers."""

Key = tuple[str, str, int]
"""λ as `p/q`, id of the question, number of the sample."""


class Settings(SamplingSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings that two samples must share to be compared, including the sampling parameters.

    Attributes:
        backend: Kind of backend, models and their digests.
        grader: Name of the grader.
    """

    backend: dict[str, str]
    grader: str

    def digest(self) -> str:
        """Return the sixteen hexadecimal digits that every line carries."""
        text = digest_bytes(msgspec.json.encode(self._digested(), order="sorted"))
        return text.partition(":")[2][:16]

    def _digested(self) -> dict[str, object]:
        """Select the fields to digest: later parameters count only if used, which keeps old digests valid."""
        unused = SamplingSettings()
        return {
            name: value
            for name, value in msgspec.structs.asdict(self).items()
            if name in _FIRST_FIELDS or value != getattr(unused, name, None)
        }


class Sidecar(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file beside the rollouts: the settings and every question that was asked."""

    settings: Settings
    questions: dict[str, Question]


def settings_of(backend: Mapping[str, str], grader: str, sampling: SamplingSettings) -> Settings:
    """Return the settings of a run, without the number of samples, since more may be added later."""
    return Settings(backend=dict(backend), grader=grader, **msgspec.structs.asdict(sampling))


def sidecar_path(path: Path) -> Path:
    """Return the path of the settings of a rollouts file, such as `r.jsonl.settings.json`."""
    return path.with_name(path.name + SETTINGS_SUFFIX)


def read_sidecar(path: Path) -> Sidecar:
    """Read the settings and questions of a rollouts file.

    Raises:
        InputRefused: The file with the settings is missing, unreadable or malformed.
    """
    file = sidecar_path(path)
    try:
        return msgspec.json.decode(_content(file), type=Sidecar)
    except OSError as error:
        hint = "the settings lie beside the rollouts: move both files together"
        raise _refused(f"{file}: {error.strerror}", hint) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(f"{file}: {error}", "it may have been written by another release") from error


def read_rollouts(path: str | Path) -> Rollouts:
    """Read every complete line of a rollouts file, in order; an incomplete line at the end is skipped.

    Raises:
        InputRefused: The file cannot be read, or lines are malformed or duplicates; all are reported.
    """
    path = Path(path)
    try:
        content = _content(path)
    except OSError as error:
        raise _refused(f"{path}: {error.strerror}", "create the file with `dami-merge sweep`") from error
    rows: list[Rollout] = []
    problems: list[Problem] = []
    seen: dict[Key, int] = {}
    decoder = msgspec.json.Decoder(Rollout)
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            row = decoder.decode(line)
            _check_lambda(row)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            problems.append(Problem("rollout", f"{path}, line {number}: {error}", "remove the line"))
            continue
        first = seen.setdefault(_key(row), number)
        if first != number:
            what = f"{path}, lines {first} and {number} are the same sample"
            problems.append(Problem("rollout", what, "remove one of them"))
        rows.append(row)
    if problems:
        raise InputRefused(problems)
    return Rollouts(rows)


class RolloutsFile:
    """A rollouts file that one run appends to; `open_rollouts` opens it."""

    def __init__(self, descriptor: int, path: Path, done: Iterable[Key], settings: str) -> None:
        self._descriptor = descriptor
        self._path = path
        self._done = set(done)
        self.settings = settings

    @property
    def done(self) -> int:
        """Number of samples in the file."""
        return len(self._done)

    def holds(self, fraction: str, question: str, sample: int) -> bool:
        """Return whether a sample is in the file."""
        return (fraction, question, sample) in self._done

    def append(self, row: Rollout) -> None:
        """Append a line.

        Raises:
            DiskFull: The disk is full; the incomplete line is removed when the file is next opened.
        """
        if _key(row) in self._done:
            raise ValueError(f"{_key(row)} is already in the file")
        line = memoryview(msgspec.json.encode(row) + b"\n")
        with disk_full_is_clear(self._path.absolute().parent):
            while line:
                line = line[os.write(self._descriptor, line) :]
        self._done.add(_key(row))

    def make_durable(self) -> None:
        """Wait until all lines would survive a power loss."""
        os.fsync(self._descriptor)


@contextmanager
def open_rollouts(path: Path, settings: Settings, questions: Iterable[Question]) -> Iterator[RolloutsFile]:
    """Open a rollouts file to resume it, or create it.

    Args:
        path: The file; its folder must exist.
        settings: Settings of this run; must equal those of the file.
        questions: Questions of this run; those that the file already has must be unchanged.

    Raises:
        OutputRefused: Another run uses the file, settings or questions differ, or the file is not writable.
        InputRefused: The existing file is not a rollouts file.
        DiskFull: The disk is full.

    A refused file is left unchanged; a run that fails before its first sample leaves no new file.
    """
    asked = {question.id: question for question in questions}
    lock = path.with_name(f".{path.name}.lock")
    new = [file for file in (path, sidecar_path(path), lock) if not os.path.lexists(file)]
    with locked(lock, what=path), _without_traces(path, new):
        known: dict[str, Question] = {}
        if path.exists() or sidecar_path(path).exists():
            known = _refuse_mixture(path, settings, asked)
        rows = read_rollouts(path) if path.exists() else ()
        _refuse_foreign(path, rows, settings.digest())
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


@contextmanager
def _without_traces(path: Path, new: Iterable[Path]) -> Iterator[None]:
    """Remove the files of a run that fails with no sample in the file."""
    try:
        yield
    except BaseException:
        if not (path.is_file() and path.stat().st_size):
            for file in new:
                file.unlink(missing_ok=True)
        raise


def _refuse_foreign(path: Path, rows: Iterable[Rollout], digest: str) -> None:
    """Refuse a file into which rows of another sweep were copied: the settings beside it are not theirs."""
    foreign = sorted({row.settings for row in rows} - {digest})
    if foreign:
        raise OutputRefused(
            f"{path} has rows with the settings {foreign[0]}; those beside it are {digest}",
            hint="remove these rows, or sweep into another file",
        )


def _check_lambda(row: Rollout) -> None:
    """Refuse a λ outside [0, 1] or not in lowest terms: `2/4` would be another λ than `1/2`."""
    if fraction_text(row.lam) != row.fraction or row.lam > 1:
        fact = f"`lambda` is {row.fraction!r}, not a fraction in lowest terms from 0/1 to 1/1"
        raise msgspec.ValidationError(fact)


def _content(path: Path) -> bytes:
    """Read a file, without a byte order mark that an editor may have put in front."""
    if is_special(path):
        raise OSError(errno.EINVAL, "not a regular file")
    return path.read_bytes().removeprefix(codecs.BOM_UTF8)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise OutputRefused(
            f"{path} cannot be written: {error.strerror}",
            hint="make it writable, or give another file with -o",
        ) from error


def _cut_torn_end(path: Path, descriptor: int) -> None:
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        os.ftruncate(descriptor, content.rfind(b"\n") + 1)


def _refuse_mixture(path: Path, settings: Settings, asked: Mapping[str, Question]) -> dict[str, Question]:
    """Refuse to mix settings or questions; return the questions that the file has."""
    sidecar = read_sidecar(path)
    before, now = msgspec.to_builtins(sidecar.settings), msgspec.to_builtins(settings)
    changes = [f"{name} was {before[name]}, is {now[name]}" for name in before if before[name] != now[name]]
    changes += [
        f"question {name!r} has changed"
        for name, question in sorted(asked.items())
        if sidecar.questions.get(name, question) != question
    ]
    if changes:
        more = f" (and {len(changes) - 5} more)" if len(changes) > 5 else ""
        raise OutputRefused(
            f"{path} was made with other settings: " + "; ".join(changes[:5]) + more,
            hint="use the same settings, or another file: answers with different settings cannot be compared",
        )
    return sidecar.questions


def _key(row: Rollout) -> Key:
    return row.fraction, row.question, row.sample


def _refused(message: str, hint: str) -> InputRefused:
    return InputRefused([Problem("rollouts", message, hint)])
