"""The layer and the kind of module of a tensor, derived from its name alone."""

import re

_LAYER = re.compile(r"(?P<layer>(?:.*?\.)?\d+)\.(?P<module>.+)")
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


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


def is_matrix(shape: tuple[int, ...]) -> bool:
    """Return whether a tensor has two or more dimensions above 1; norms and biases do not."""
    return sum(size > 1 for size in shape) >= 2


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key that puts layer 10 after layer 9."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split(".")]
