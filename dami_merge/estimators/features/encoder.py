"""Features by a sentence encoder: a folder or Hub id that transformers' `AutoModel` loads. Imports torch.

The layout of sentence-transformers is understood as far as pooling goes: the mean, the first or last token,
or the largest value, and a longest prompt. A folder without that layout is pooled by the mean.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.json_files import read_json
from dami_merge.errors import InputRefused, Problem
from dami_merge.estimators.features.text import prompt_text
from dami_merge.estimators.fitted import Conversation, Inputs
from dami_merge.estimators.pretrained import (
    load_encoder,
    load_tokenizer,
    open_encoder_source,
    source_digests,
    token_batches,
    tokens_read,
)
from dami_merge.tensors.threads import fitting_threads

ENCODED_AT_ONCE = 32
"""Prompts in one batch."""

_POOLINGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "first",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_max_tokens": "max",
}
_MODULES = ("Transformer", "Pooling", "Normalize")


class EncoderFeatures:
    """One vector at length 1 for each prompt, by a sentence encoder on the CPU."""

    def __init__(self, path: str) -> None:
        """Load the encoder.

        Args:
            path: Folder or Hub id.

        Raises:
            InputRefused: It cannot be loaded, or pools in a way that is not known here.
            HubError: It is on the Hub and cannot be downloaded.
            DamiMergeError: transformers is not installed.
        """
        self._path = path
        self._source = open_encoder_source(path)
        self._pooling, asked = _layout(self._source)
        self._tokenizer = load_tokenizer(self._source)
        self._most = tokens_read(self._source, self._tokenizer, asked)
        self._model = load_encoder(self._source)

    @property
    def spec(self) -> str:
        """`encoder:` and the folder or Hub id."""
        return f"encoder:{self._path}"

    def inputs(self, queries: Sequence[Conversation]) -> Inputs:
        """Features of some queries, shape [n, hidden size]."""
        texts = [prompt_text(query) for query in queries]
        vectors = np.zeros((len(texts), int(self._model.config.hidden_size)))
        with torch.inference_mode(), fitting_threads(self._model):
            for places, given in token_batches(
                self._tokenizer, texts, most_tokens=self._most, at_once=ENCODED_AT_ONCE
            ):
                states = self._model(**given).last_hidden_state
                pooled = _pooled(states.double(), given["attention_mask"], self._pooling)
                vectors[places] = torch.nn.functional.normalize(pooled, dim=1).numpy()
        return Inputs(vectors, np.zeros(len(texts)), ("",) * len(texts))

    def describe(self) -> dict[str, str]:
        """Digests of the encoder's files, its pooling, and how many tokens it reads; not its place."""
        return source_digests(self._source) | {"pooling": self._pooling, "tokens": str(self._most)}


def _pooled(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """One vector for each prompt of a batch, shape [n, hidden size]; padding, on the right, is left out."""
    own = mask.unsqueeze(-1)
    if pooling == "first":
        return states[:, 0]
    if pooling == "last":
        return states[torch.arange(len(states)), (mask.sum(dim=1) - 1).clamp(min=0)]
    if pooling == "max":
        return states.masked_fill(own == 0, -torch.inf).amax(dim=1)
    return (states * own).sum(dim=1) / own.sum(dim=1).clamp(min=1)


def _layout(source: Checkpoint) -> tuple[str, int | None]:
    """The pooling, and the longest prompt in tokens if the folder names one."""
    modules = _json(source, "modules.json")
    if modules is None:
        return "mean", None
    listed = [each for each in modules if isinstance(each, dict)] if isinstance(modules, list) else []
    kinds = [str(each.get("type", "")).rpartition(".")[2] for each in listed]
    others = [kind for kind in kinds if kind not in _MODULES]
    if others or "Pooling" not in kinds:
        what = f"a module {others[0]!r}" if others else "no module that pools"
        raise _unknown(source, f"modules.json lists {what}")
    place = str(listed[kinds.index("Pooling")].get("path", ""))
    found = _json(source, f"{place}/config.json")
    modes = [mode for mode, on in _mapping(found).items() if mode.startswith("pooling_mode_") and on is True]
    if len(modes) != 1 or modes[0] not in _POOLINGS:
        raise _unknown(source, f"{place}/config.json asks for {', '.join(modes) or 'no pooling'}")
    longest = _mapping(_json(source, "sentence_bert_config.json")).get("max_seq_length")
    return _POOLINGS[modes[0]], longest if isinstance(longest, int) else None


def _json(source: Checkpoint, name: str) -> object | None:
    path = source.root / name
    inside = ".." not in Path(name).parts and not Path(name).is_absolute()
    return read_json(path, spec=source.spec) if inside and path.is_file() else None


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _unknown(source: Checkpoint, what: str) -> InputRefused:
    fact = f"{source.spec}: {what}"
    hint = f"use an encoder of {', '.join(_MODULES)} that pools by one of {', '.join(_POOLINGS.values())}"
    return InputRefused([Problem("pooling", fact, hint)])
