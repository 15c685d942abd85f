"""Compare the tensors of both sides by their headers: names, shapes and dtypes.

Tensors that differ in the same way are one problem with a count. A head for multi-token prediction or an
output layer on one side only is called by its name, with what to do about it.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.header import TensorInfo
from dami_merge.dtypes import FLOATS, INTEGERS
from dami_merge.errors import Problem

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")
_MTP_PART = re.compile(r"(^|\.)(mtp|nextn)")
_LAYER = re.compile(r"^(model\.)?(language_model\.)?(model\.)?layers\.(\d+)\.")
_OUTPUT_LAYER = re.compile(r"(^|\.)lm_head\.\w+$")
_PROGRAM = "as shown under 'Tensors on one side only' in dami_merge/grid/README.md"
UNTIE = (
    "in a copy of the tied side, add an lm_head.weight that equals its embeddings and set tie_word_embeddings"
    f" to false, which changes no answer, {_PROGRAM}"
)


def one_sided_problems(instruct: Checkpoint, thinking: Checkpoint) -> list[Problem]:
    """Find tensors that only one side has; those that differ in numbers only, as layers do, are one."""
    return [
        *_one_sided(instruct, thinking, side="instruct", other="thinking"),
        *_one_sided(thinking, instruct, side="thinking", other="instruct"),
    ]


def _one_sided(here: Checkpoint, there: Checkpoint, *, side: str, other: str) -> Iterator[Problem]:
    names = sorted(here.tensors().keys() - there.tensors().keys())
    mtp = [name for name in names if _is_mtp(name, here.config)]
    if mtp:
        head = f"{len(mtp)} tensors of an MTP head (multi-token prediction)"
        fact = f"{head} are only in {side}, such as {mtp[0]!r}"
        yield Problem(
            "key-set", fact, f"answers do not depend on it: give a copy of {side} without it, {_PROGRAM}"
        )
    renamed = any(_OUTPUT_LAYER.search(name) for name in there.tensors())
    for group in _grouped(sorted(set(names) - set(mtp)), _pattern):
        if _OUTPUT_LAYER.search(group[0]) and not renamed:
            fact = f"the output layer {group[0]!r} is only in {side}"
            yield Problem("key-set", fact, _output_hint(here, there, side=side, other=other))
        else:
            yield Problem("key-set", f"{_subject(group)} only in {side}")


def _is_mtp(name: str, config: Mapping[str, object]) -> bool:
    """Return whether a tensor belongs to an MTP head: by name, or in a layer beyond those of the model."""
    layer = _LAYER.match(name)
    layers = _setting(config, "num_hidden_layers")
    beyond = layer is not None and isinstance(layers, int) and int(layer[4]) >= layers
    return beyond or _MTP_PART.search(name) is not None


def _output_hint(here: Checkpoint, there: Checkpoint, *, side: str, other: str) -> str:
    if not _setting(there.config, "tie_word_embeddings"):
        return f"{other} lacks weights: download it again"
    if not _setting(here.config, "tie_word_embeddings"):
        return UNTIE
    return f"{side} is tied and does not use it: give a copy of {side} without it, {_PROGRAM}"


def _setting(config: Mapping[str, object], field: str) -> object:
    text = config.get("text_config")
    return config.get(field, text.get(field) if isinstance(text, dict) else None)


def shape_problems(instruct: Checkpoint, thinking: Checkpoint, *, apart: Collection[str]) -> list[Problem]:
    """Find tensors of different shapes; those that differ only in numbers, as layers do, are one problem.

    Args:
        instruct: System 1.
        thinking: System 2.
        apart: Names of tensors that are reported elsewhere.
    """
    facts = {
        name: f"{list(left.shape)} in instruct and {list(right.shape)} in thinking"
        for name, left, right in _common(instruct, thinking)
        if left.shape != right.shape and name not in apart
    }
    groups = _grouped(facts, lambda name: (_pattern(name), facts[name]))
    return [Problem("shape", f"{_subject(group)} {facts[group[0]]}") for group in groups]


def dtype_problems(instruct: Checkpoint, thinking: Checkpoint, *, mixed: bool) -> list[Problem]:
    """Find tensors of different or unusable dtypes; those of equal dtypes are one problem.

    Args:
        instruct: System 1.
        thinking: System 2.
        mixed: Accept float tensors with different dtypes.
    """
    faults = {
        name: fault
        for name, left, right in _common(instruct, thinking)
        if left.shape == right.shape and (fault := _dtype_fault(left, right, mixed=mixed)) is not None
    }
    return [
        Problem("dtype", f"{_subject(group)} {faults[group[0]][0]}", faults[group[0]][1])
        for group in _grouped(faults, lambda name: faults[name])
    ]


def _dtype_fault(instruct: TensorInfo, thinking: TensorInfo, *, mixed: bool) -> tuple[str, str] | None:
    """Return what is wrong with a tensor's dtypes, and a hint."""
    for dtype in (instruct.dtype, thinking.dtype):
        if dtype not in FLOATS | INTEGERS:
            fact = f"{dtype}, which is neither a plain float nor an integer"
            return fact, "use an unquantised repository of the same model"
    both_float = {instruct.dtype, thinking.dtype} <= FLOATS
    if instruct.dtype != thinking.dtype and not (both_float and mixed):
        fact = f"{instruct.dtype} in instruct and {thinking.dtype} in thinking"
        return fact, "choose the dtype to write with --dtype" if both_float else ""
    return None


def _common(instruct: Checkpoint, thinking: Checkpoint) -> Iterator[tuple[str, TensorInfo, TensorInfo]]:
    left, right = instruct.tensors(), thinking.tensors()
    return ((name, left[name][1], right[name][1]) for name in sorted(left.keys() & right.keys()))


def _pattern(name: str) -> str:
    """Return a tensor's name with the numbers of layers and experts replaced by `*`."""
    return _NUMBER.sub("*", name)


def _grouped(names: Iterable[str], key: Callable[[str], object]) -> list[list[str]]:
    """Group names by a key, in the order of each group's first name."""
    groups: dict[object, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return list(groups.values())


def _subject(names: Sequence[str]) -> str:
    """Return the names and their verb: one name, a pattern that all share, or a count with an example."""
    patterns = {_pattern(name) for name in names}
    if len(names) == 1:
        return f"{names[0]!r} is"
    if len(patterns) == 1:
        return f"{patterns.pop()!r} ({len(names)} tensors) is"
    return f"{len(names)} tensors, such as {names[0]!r}, are"
