"""The identity of a run: the recipe, sources and format that must not change before it is resumed.

An identity is plain JSON, so that a difference can be shown by the path of its field. Reads the contents of
small files, and only the modification times of large ones: where only these differ, `grid.contents` decides.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import get_args

import msgspec

from dami_merge.checkpoint.folder import CONFIG_FILE, Checkpoint
from dami_merge.files import digest_bytes
from dami_merge.grid.plan import GridPlan
from dami_merge.grid.recipe import Side
from dami_merge.lambdas import fraction_text, label

FORMAT = 2
"""Version of all files that a run leaves in its folder; raised when the same recipe gives other bytes."""

SIDES: tuple[Side, ...] = get_args(Side)

_NEEDS_CONTENTS = re.compile(r"(instruct|thinking)\.(id|revision|weights\..*\.mtime_ns)")
"""Differences that say nothing about the weights themselves: another name, place or time of the files."""

_CONSEQUENCES = (
    (r"format", "another release of dami-merge wrote it", ""),
    (r"name", "that changes the served model names and the model cards, but no weights", "--name {before}"),
    (
        r"donor",
        "that changes the tokenizer, chat template and config of the checkpoints, but no weights",
        "--donor {before}",
    ),
    (r"dtype", "that changes every weight", "--dtype {before}"),
    (r"allow_config.*", "that changes which differences of the models are allowed", ""),
    (r"allow_nonfinite", "that changes whether NaN and Inf are interpolated", ""),
    (r"sampling.*", "that changes the sampling parameters in grid.json, but no weights", ""),
    (r"\w+\.sidecars\..*", "that changes the small files of this side's checkpoints, but no weights", ""),
    (r"\w+\.weights\..*", "the weights are laid out differently", ""),
)


@dataclass(frozen=True, slots=True)
class IdentityChange:
    """One field in which two identities differ.

    Attributes:
        path: Path of the field, such as `thinking.sidecars.tokenizer.json`.
        before: Its value in the identity on disk, as JSON; shortened if long.
        now: Its value in the plan's identity, in the same form.
        consequence: What continuing would change in the grid, in a few words; empty if unknown.
        keep: The option that keeps the value before; empty if there is none.
    """

    path: str
    before: str
    now: str
    consequence: str = ""
    keep: str = ""

    @property
    def needs_contents(self) -> Side | None:
        """The side whose weights decide whether this difference matters; None if it does in any case."""
        found = _NEEDS_CONTENTS.fullmatch(self.path)
        return next(side for side in SIDES if side == found[1]) if found else None

    def __str__(self) -> str:
        """Return the change as `path was …, is …: consequence`."""
        fact = f"{self.path} was {self.before}, is {self.now}"
        return f"{fact} ({self.consequence})" if self.consequence else fact


def identity_of(plan: GridPlan) -> dict[str, object]:
    """Return what must not change between a killed run and the run that resumes it, as plain JSON."""
    recipe = plan.recipe
    return {
        "format": FORMAT,
        "name": plan.name,
        "lambdas": [fraction_text(lam) for lam in recipe.lambdas],
        "dtype": recipe.dtype,
        "donor": recipe.donor,
        "allow_config": list(plan.pair.allowed),
        "allow_nonfinite": recipe.allow_nonfinite,
        "sampling": msgspec.to_builtins(recipe.sampling),
        "instruct": _source_identity(plan.pair.instruct),
        "thinking": _source_identity(plan.pair.thinking),
    }


def _source_identity(source: Checkpoint) -> dict[str, object]:
    small = (CONFIG_FILE, *source.sidecars)
    return {
        "id": source.source_id,
        "revision": source.revision,
        "weights": {
            name: {
                "size": header.size_bytes,
                "header": header.digest,
                "mtime_ns": None if source.revision else (source.root / name).stat().st_mtime_ns,
            }
            for name, header in sorted(source.files.items())
        },
        "sidecars": {name: digest_bytes((source.root / name).read_bytes()) for name in sorted(small)},
    }


def changed(before: object, now: Mapping[str, object]) -> list[IdentityChange]:
    """Return every field whose value has changed, except λ that were only added.

    Args:
        before: Identity as read back from disk.
        now: Identity from `identity_of`.
    """
    return list(_changes(before, msgspec.json.decode(msgspec.json.encode(now)), ""))


def _changes(before: object, now: object, path: str) -> Iterator[IdentityChange]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _changes(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif path == "lambdas" and isinstance(before, list) and isinstance(now, list):
        dropped = [each for each in before if each not in now]
        if dropped:
            lost = ", ".join(label(Fraction(each)) for each in dropped[:3])
            lost += f" and {len(dropped) - 3} more" if len(dropped) > 3 else ""
            union = ",".join(map(str, sorted({Fraction(each) for each in (*before, *now)})))
            consequence, keep = f"that drops λ = {lost}", f"--lambdas {union}"
            yield IdentityChange(path, _short(before), _short(now), consequence, keep)
    elif before != now:
        yield IdentityChange(path, _short(before), _short(now), *_consequence(path, before))


def _consequence(path: str, before: object) -> tuple[str, str]:
    if _NEEDS_CONTENTS.fullmatch(path):
        return "", ""
    for pattern, consequence, keep in _CONSEQUENCES:
        if re.fullmatch(pattern, path):
            return consequence, keep.format(before=before) if before is not None else ""
    return "", ""


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}…"
