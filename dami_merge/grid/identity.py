"""The identity of a run: the recipe, sources and format that must not change before it is resumed.

An identity is plain JSON, so that a difference can be shown by the path of its field. Reads the contents of
small files, and only the modification times of large ones.
"""

from collections.abc import Iterator, Mapping

import msgspec

from dami_merge.checkpoint.folder import CONFIG_FILE, Checkpoint
from dami_merge.files import digest_bytes
from dami_merge.grid.plan import GridPlan
from dami_merge.lambdas import fraction_text

FORMAT = 2
"""Version of all files that a run leaves in its folder; raised when the same recipe gives other bytes."""


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


def changed(before: object, now: Mapping[str, object]) -> list[str]:
    """Return every field whose value has changed, as `path was …, is …`.

    Args:
        before: Identity as read back from disk.
        now: Identity from `identity_of`.
    """
    return list(_changes(before, msgspec.json.decode(msgspec.json.encode(now)), ""))


def _changes(before: object, now: object, path: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _changes(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif before != now:
        yield f"{path} was {_short(before)}, is {_short(now)}"


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else f"{text[:57]}…"
