"""Which layer and which kind of module a tensor belongs to, read from its name alone."""

import re

_LAYER = re.compile(r"(?P<layer>(?:.*?\.)?\d+)\.(?P<module>.+)")
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def layer_and_module(name: str) -> tuple[str, str]:
    """Split a tensor's name; works for any naming that counts layers with a number between dots.

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


def is_matrix(shape: tuple[int, ...]) -> bool:
    """Whether a tensor is more than one row of numbers; norms and biases are not."""
    return sum(size > 1 for size in shape) >= 2


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """A sort key under which layer 10 comes after layer 9."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split(".")]
