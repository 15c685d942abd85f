"""Features by a fine-tuned backbone: its utility of every λ. Imports torch.

`fitting.backbone` makes such a folder; any classifier of transformers with safetensors weights is read.
"""

from collections.abc import Sequence

import numpy as np

from dami_merge.estimators.features.text import prompt_text
from dami_merge.estimators.fitted import Conversation, Inputs
from dami_merge.estimators.pretrained import (
    PromptReader,
    load_classifier,
    load_tokenizer,
    open_encoder_source,
    source_digests,
    tokens_read,
)
from dami_merge.tensors.threads import fitting_threads


class BackboneFeatures:
    """The outputs of a classifier for a prompt, on the CPU."""

    def __init__(self, path: str) -> None:
        """Load the classifier.

        Args:
            path: Folder or Hub id.

        Raises:
            InputRefused: It cannot be loaded, or has no head.
            HubError: It is on the Hub and cannot be downloaded.
            DamiMergeError: transformers is not installed.
        """
        self._path = path
        self._source = open_encoder_source(path)
        tokenizer, model = load_tokenizer(self._source), load_classifier(self._source)
        self._reader = PromptReader(model, tokenizer, tokens_read(self._source, tokenizer))

    @property
    def spec(self) -> str:
        """`backbone:` and the folder or Hub id."""
        return f"backbone:{self._path}"

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the outputs: λ, as text, in order."""
        names = self._reader.model.config.id2label or {}
        return tuple(str(name) for _, name in sorted(names.items()))

    def inputs(self, queries: Sequence[Conversation]) -> Inputs:
        """The outputs for some queries, shape [n, Λ]."""
        with fitting_threads(self._reader.model):
            vectors = self._reader.utilities([prompt_text(query) for query in queries])
        return Inputs(vectors, np.zeros(len(queries)), ("",) * len(queries))

    def describe(self) -> dict[str, str]:
        """Digests of the files, the names of the outputs, and how many tokens are read; not the place."""
        read = {"labels": " ".join(self.labels), "tokens": str(self._reader.most_tokens)}
        return source_digests(self._source) | read
