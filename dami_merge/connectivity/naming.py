"""What a tensor's name and shape say: its layer, that layer's stack, its kind, and whether it is a matrix.

Derived from names and shapes alone; there is no list of architectures.
"""

import re
from collections.abc import Collection, Iterable

_LAYER = re.compile(r"(?P<layer>(?:.*?\.)?\d+)\.(?P<module>.+)")
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
_STACK = re.compile(r"(?:(?P<stack>.*)\.)?\d+")
_SMALL = re.compile(r"[0-9]{1,18}")
_EXPERTS = re.compile(r"expert|moe", re.IGNORECASE)


def layer_and_module(name: str) -> tuple[str, str]:
    """Split a tensor's name into layer and module, for any naming that numbers the layers between dots.

    Example:
        >>> layer_and_module("model.layers.3.mlp.experts.17.up_proj.weight")
        ('model.layers.3', 'mlp.experts.*.up_proj')
        >>> layer_and_module("lm_head.weight")
        ('lm_head', 'lm_head')
    """
    stem = name.removesuffix(".weight")
    match = _LAYER.fullmatch(stem)
    if match is None:
        return stem, stem
    return match["layer"], _NUMBER.sub("*", match["module"])


def stack_of(layer: str) -> str | None:
    """Return what a layer's name begins with, up to its number; None for a tensor outside the layers.

    A model of text has one stack of layers; one that also sees has a stack for each of its towers.

    Example:
        >>> stack_of("model.visual.blocks.3"), stack_of("model.language_model.layers.3"), stack_of("lm_head")
        ('model.visual.blocks', 'model.language_model.layers', None)
    """
    match = _STACK.fullmatch(layer)
    return None if match is None else match["stack"] or ""


def by_stack(layers: Iterable[str]) -> dict[str, list[str]]:
    """Return numbered layers by their stack, in order; tensors outside the layers are left out."""
    stacks: dict[str, list[str]] = {}
    for name in layers:
        stack = stack_of(name)
        if stack is not None:
            stacks.setdefault(stack, []).append(name)
    return stacks


def short_names(names: Collection[str]) -> dict[str, str]:
    """Shorten names to equally many last parts, as few as still tell them apart; none begins with a number.

    Example:
        >>> list(short_names(["model.layers.0", "model.layers.1", "lm_head"]).values())
        ['layers.0', 'layers.1', 'lm_head']
    """
    parts = {name: name.split(".") for name in names}
    for count in range(1, max(map(len, parts.values()), default=0) + 1):
        short = {name: ".".join(each[-count:]) for name, each in parts.items()}
        numbered = any(each[-count:][0][:1].isdigit() for each in parts.values() if len(each) > count)
        if len(set(short.values())) == len(short) and not numbered:
            return short
    return {name: name for name in names}


def is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """Return whether a tensor mixes channels: it has two or more dimensions above 1, and holds no vectors.

    Norms have one dimension. The biases of all experts in one tensor have two, and so have the kernels of a
    depthwise convolution, of shape [channels, 1, taps]; but each acts on one channel, as a norm does.
    """
    if name.removesuffix(".weight").endswith("bias") or (len(shape) == 3 and shape[1] == 1):
        return False
    return sum(size > 1 for size in shape) >= 2


def experts_within(name: str, shape: tuple[int, ...]) -> int:
    """Return how many experts' matrices a tensor holds along its first dimension; 0 if it holds no experts.

    Example:
        >>> experts_within("model.layers.0.mlp.experts.gate_up_proj", (128, 2880, 5760))
        128
        >>> experts_within("model.layers.0.mlp.experts.17.up_proj.weight", (768, 2048))
        0
    """
    whole = len(shape) == 3 and min(shape) > 0 and is_matrix(name, shape[1:])
    return shape[0] if whole and _EXPERTS.search(name) else 0


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts layer 10 after layer 9."""
    return [(0, int(part), "") if _SMALL.fullmatch(part) else (1, 0, part) for part in name.split(".")]
