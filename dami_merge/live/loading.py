"""Load a pair of checkpoints with transformers into one model that can be set to any λ.

Handles what transformers may do to weights while loading (fuse, rename, convert); contains no arithmetic.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.pair import join
from dami_merge.checkpoint.source import fetched, open_both
from dami_merge.errors import InputRefused, Problem, UsageError
from dami_merge.live.matching import tied
from dami_merge.live.model import LiveModel
from dami_merge.optional import needed, without_progress_bars
from dami_merge.tensors.device import choose_device, prove
from dami_merge.tensors.dtypes import FLOAT_DTYPES, NAMED_FLOATS
from dami_merge.tensors.kernels import fastest

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_live(
    instruct: Checkpoint | str,
    thinking: Checkpoint | str,
    *,
    device: str = "auto",
    dtype: str | None = None,
    offload: bool = False,
    allow: Collection[str] = (),
) -> "tuple[PreTrainedModel, LiveModel]":
    """Load a pair with transformers (the extra `live`) into one model that can be set to any λ.

    Both endpoints pass the checks of `dami-merge grid` and go through the same loader as the model, so that
    transformers fuses and renames tensors alike in all three.

    Args:
        instruct: Folder, Hub id, `bundled:tiny/instruct`, or an opened checkpoint.
        thinking: Same; the model uses its config and generation config.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        dtype: `bfloat16`, `float16`, `float32` or `float64` for the model; None keeps the stored dtypes.
        offload: Keep the endpoints in host memory.
        allow: Fields of config or tokenizer whose difference you waive, as with `--allow-config`.

    Returns:
        The model in evaluation mode, at λ = 1, and the `LiveModel` that changes its λ. With `dtype=None` the
        bits are those of the grid's checkpoint after loading; with a dtype, each exact value is rounded once
        to the parameter's dtype.

    Raises:
        InputRefused: The pair must not be interpolated or is not a text model supported by transformers, or
            without `dtype` the loader would change a stored dtype.
        UsageError: `dtype` is not one of the four.
        DeviceUnfit: `device` is missing, or rounds differently from the CPU.
        HubError: A Hub id cannot be read.
        DamiMergeError: transformers is not installed.

    Peak memory: three models on the device, and one on the host while loading; with `offload`, one on the
    device and three on the host.
    """
    if dtype is not None and dtype not in NAMED_FLOATS:
        raise UsageError(
            f"{dtype!r} is not a dtype for weights", hint=f"use one of {', '.join(NAMED_FLOATS)}"
        )
    _transformers()
    place = choose_device(device)
    prove(place, fastest(place, output_bytes=0).interpolate)
    pair = join(*open_both(instruct, thinking), allow=allow, mixed_dtypes=dtype is not None)
    sides = [fetched(side) for side in (pair.instruct, pair.thinking)]
    home = torch.device("cpu") if offload else place
    with _quiet():
        ends = [_loaded(side, _lossless(side) if dtype else "auto", home).state_dict() for side in sides]
        if dtype is None:
            _refuse_conversions(sides, ends)
        model = _loaded(sides[1], NAMED_FLOATS[dtype] if dtype else "auto", place)
    live = LiveModel(model.state_dict(), ends[0], ends[1], offload=offload)
    live.set_lambda(1)
    return model, live


def load_checkpoint(side: Checkpoint, *, device: str = "auto", dtype: str | None = None) -> "PreTrainedModel":
    """Load one checkpoint with transformers, complete and in its own memory.

    Args:
        side: The checkpoint; its weights must be on this disk.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        dtype: `bfloat16`, `float16`, `float32` or `float64`; None keeps the stored dtypes.

    Returns:
        The model in evaluation mode.

    Raises:
        DamiMergeError: See `load_live`.

    Peak memory: one model, and one more on the host while loading.
    """
    if dtype is not None and dtype not in NAMED_FLOATS:
        raise UsageError(
            f"{dtype!r} is not a dtype for weights", hint=f"use one of {', '.join(NAMED_FLOATS)}"
        )
    place = choose_device(device)
    _transformers()
    with _quiet():
        model: PreTrainedModel = _loaded(side, NAMED_FLOATS[dtype] if dtype else "auto", place)
    return model


def _transformers() -> Any:
    return needed("transformers", "load_live", extra="live")


def _quiet() -> AbstractContextManager[None]:
    from transformers.utils import logging

    return without_progress_bars(
        shown=logging.is_progress_bar_enabled(),
        off=logging.disable_progress_bar,
        on=logging.enable_progress_bar,
    )


def _loaded(side: Checkpoint, dtype: torch.dtype | str, device: torch.device) -> Any:
    """Load a model and refuse missing weights, which transformers would initialise at random."""
    loader = _transformers().AutoModelForCausalLM
    try:
        model, info = loader.from_pretrained(
            side.root, dtype=dtype, output_loading_info=True, trust_remote_code=False, local_files_only=True
        )
    except (ValueError, TypeError, LookupError, AttributeError, OSError, RuntimeError) as error:
        reason = (
            str(error).partition("\n")[0] or type(error).__name__
        )  # the other lines are advice for other loaders
        hint = "load the model and both endpoints yourself, and pass their state dicts to LiveModel"
        problem = Problem("not-loadable", f"transformers cannot load {side.spec}: {reason}", hint)
        raise InputRefused([problem]) from error
    lacking = sorted(info["missing_keys"])
    if lacking:
        message = (
            f"{side.spec}: {lacking[0]!r} is missing from the checkpoint ({len(lacking)} missing in total)"
        )
        raise InputRefused(
            [Problem("missing-weight", message, "transformers would fill it with random numbers")]
        )
    if device.type == "cpu":
        # safetensors maps the file: a change would alter the weights, a truncation would kill the process
        return deepcopy(model)
    return model.to(device)


def _lossless(side: Checkpoint) -> torch.dtype:
    """Return the narrowest dtype that holds every stored float exactly."""
    stored = {FLOAT_DTYPES[info.dtype] for _, info in side.tensors().values() if info.dtype in FLOAT_DTYPES}
    return reduce(torch.promote_types, stored or {torch.float32})


def _refuse_conversions(sides: Sequence[Checkpoint], ends: Sequence[Mapping[str, Tensor]]) -> None:
    """Refuse dtypes that the loader changed, which would add a rounding to the one of the grid."""
    problems = []
    for side, end in zip(sides, ends, strict=True):
        stored = {name: FLOAT_DTYPES.get(info.dtype) for name, (_, info) in side.tensors().items()}
        groups = [names for names in tied(end) if end[names[0]].is_floating_point()]
        pairs = [(name, end[name].dtype) for names in groups for name in names if name in stored]
        renamed = {end[names[0]].dtype for names in groups if not stored.keys() & set(names)}
        rest = {stored[name] for name in stored.keys() - end.keys()} - {None}
        changed = [
            f"{name!r} from {stored[name]} to {dtype}" for name, dtype in pairs if stored[name] != dtype
        ]
        if renamed and renamed != rest:
            changed.append(f"renamed tensors from {_texts(rest)} to {_texts(renamed)}")
        problems += [
            Problem("converted", f"{side.spec}: transformers converts {what}", "pass a dtype for the model")
            for what in changed
        ]
    if problems:
        raise InputRefused(problems)


def _texts(dtypes: Collection[object]) -> str:
    return ", ".join(sorted(map(str, dtypes)))
