"""Features by the name that a user types: one of them, or several joined by `+`.

Whatever needs torch, such as an encoder, is imported only if it is asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import msgspec
import numpy as np

from dami_merge.errors import InputRefused, Problem, UsageError
from dami_merge.estimators.features.conf import ConfFeatures
from dami_merge.estimators.features.length import LengthFeatures
from dami_merge.estimators.features.state import SPREAD, StateFeatures
from dami_merge.estimators.features.text import TextFeatures
from dami_merge.estimators.features.wordllama import WordLlamaFeatures
from dami_merge.estimators.fitted import Conversation, Features, Inputs
from dami_merge.estimators.probing import Prober, ProbeSettings

FEATURES: Mapping[str, str] = MappingProxyType(
    {
        "text": "hashed character n-grams and counts",
        "length": "the length of the prompt alone",
        "wordllama": "static embeddings of WordLlama",
        "encoder:PATH": "a sentence encoder, from a folder or the Hub",
        "backbone:PATH": "the utility of every λ, by a fine-tuned classifier",
        "conf": "the confidence of short answers by both endpoints",
        "state": "the state of the Instruct model after the prompt",
    }
)
"""What there is, in the order in which joined features stand."""

_ENCODER, _BACKBONE = "encoder:", "backbone:"
_WITH_PATH = (_ENCODER, _BACKBONE)
_PROBED = ("conf", "state")


class JoinedFeatures:
    """Several features side by side: vectors joined, blocks kept apart, `spent` added up.

    Attributes:
        parts: The features, in the order of `FEATURES`; no two of one name.
    """

    def __init__(self, parts: Sequence[Features]) -> None:
        self.parts = tuple(parts)

    @property
    def spec(self) -> str:
        """The parts' names, joined by `+`."""
        return "+".join(part.spec for part in self.parts)

    def inputs(self, queries: Sequence[Conversation]) -> Inputs:
        """Features of some queries, shape [n, sum of the parts' widths]."""
        own = [part.inputs(queries) for part in self.parts]
        blocks = [block for each in own for block in each.blocks or (each.vectors.shape[1],)]
        return Inputs(
            vectors=np.concatenate([each.vectors for each in own], axis=1),
            spent=np.sum([each.spent for each in own], axis=0),
            groups=("",) * len(queries),
            blocks=tuple(blocks),
        )

    def describe(self) -> dict[str, str]:
        """What the parts say, each key after its part's name: `text.bits`."""
        return {
            f"{_name(part.spec)}.{key}": value
            for part in self.parts
            for key, value in part.describe().items()
        }


def open_features(
    spec: str,
    *,
    prober: Prober | None = None,
    probe: ProbeSettings | None = None,
    layers: Sequence[int] | None = None,
) -> Features:
    """Open features by their name.

    Args:
        spec: One of `FEATURES`, or several joined by `+`. Their order does not matter.
        prober: Asks both endpoints, for `conf` and `state`.
        probe: How `conf` asks for short answers; None means what suits the prober.
        layers: Layers of `state`; None means some that are evenly spread.

    Returns:
        The features. Their `spec` is canonical: the same for every order of the same parts.

    Raises:
        UsageError: There are no such features, one is named twice, or it needs a prober and there is none.
        InputRefused: The encoder or backbone cannot be loaded.
        DamiMergeError: A package that they need is not installed, or a model cannot be downloaded.
    """
    parts = _parts(spec)
    names = [_name(part) for part in parts]
    unknown = [part for part in parts if part not in _PROBED and part not in _PLAIN and not _has_path(part)]
    if unknown:
        raise UsageError(f"there are no features {unknown[0]!r}", hint=f"choose from {_choices()}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{spec!r} names the features {twice[0]} twice", hint="name each of them once")
    order = [_name(choice) for choice in FEATURES]
    parts.sort(key=lambda part: order.index(_name(part)))
    opened = [_open(part, prober, probe, layers) for part in parts]
    return opened[0] if len(opened) == 1 else JoinedFeatures(opened)


_PLAIN: Mapping[str, Callable[[], Features]] = MappingProxyType(
    {"text": TextFeatures, "length": LengthFeatures, "wordllama": WordLlamaFeatures}
)


def reopened(spec: str, described: Mapping[str, str], prober: Prober | None) -> Features:
    """Open features with the settings of a probe that they had before.

    Args:
        spec: Their `spec`.
        described: What they said of themselves.
        prober: Asks both endpoints, for `conf` and `state`.

    Raises:
        UsageError: As `open_features`.
        InputRefused: What they said cannot be read.
        DamiMergeError: As `open_features`.
    """
    probe = described.get("probe", described.get("conf.probe"))
    layers = described.get("layers", described.get("state.layers", SPREAD))
    try:
        return open_features(
            spec,
            prober=prober,
            probe=None if probe is None else msgspec.json.decode(probe, type=ProbeSettings),
            layers=None if layers == SPREAD else [int(layer) for layer in layers.split(",")],
        )
    except ValueError as error:  # msgspec's errors are ValueErrors too
        fact = f"the settings of the features {spec} are not readable: {error}"
        raise InputRefused([Problem("features", fact, "train the estimator again")]) from error


def _open(
    part: str, prober: Prober | None, probe: ProbeSettings | None, layers: Sequence[int] | None
) -> Features:
    if part in _PROBED:
        if prober is None:
            raise UsageError(
                f"the features {part} ask the models at both ends of the path, and none are at hand",
                hint="give the grid or the servers that run them, or use the features text",
            )
        return ConfFeatures(prober, probe) if part == "conf" else StateFeatures(prober, layers)
    if part.startswith(_ENCODER):
        from dami_merge.estimators.features.encoder import EncoderFeatures

        return EncoderFeatures(part.removeprefix(_ENCODER))
    if part.startswith(_BACKBONE):
        from dami_merge.estimators.features.backbone import BackboneFeatures

        return BackboneFeatures(part.removeprefix(_BACKBONE))
    return _PLAIN[part]()


def _parts(spec: str) -> list[str]:
    """Split at `+`, except inside a path: what is no name belongs to the path before it."""
    parts: list[str] = []
    for piece in spec.split("+"):
        name = piece.strip()
        if parts and _has_path(parts[-1]) and name not in (*_PROBED, *_PLAIN) and not _has_path(name):
            parts[-1] += f"+{piece.rstrip()}"
        else:
            parts.append(name)
    return parts


def _has_path(part: str) -> bool:
    return any(part.startswith(prefix) and part not in (prefix, f"{prefix}PATH") for prefix in _WITH_PATH)


def _name(part: str) -> str:
    return part.partition(":")[0]


def _choices() -> str:
    return ", ".join(FEATURES) + ", and several joined by +"
