"""Features by WordLlama's static embeddings, which its wheel ships (the extra `encoders`).

The weights and the tokenizer are read from the installed package's folder, by `tokenizers` and safetensors:
importing the package itself would load an HTTP client and configure the root logger, and the loader of
0.4.0 does not find its own tokenizer and downloads it. Nothing here can reach the network. The vectors are
those of the package's `embed(text, norm=True)`.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dami_merge.errors import InputRefused, Problem
from dami_merge.estimators.features.text import prompt_text
from dami_merge.estimators.fitted import Conversation, Inputs
from dami_merge.files import digest_file
from dami_merge.optional import needed, require_installed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

READ_CHARACTERS = 20_000
"""Characters of a prompt that are read: half from its start, half from its end."""

_WEIGHTS = "weights/l2_supercat_256.safetensors"
_TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
_TENSOR = "embedding.weight"


class WordLlamaFeatures:
    """The mean of a static vector for each token of a prompt, at length 1.

    Raises:
        DamiMergeError: WordLlama is not installed.
        InputRefused: The installed release lacks the files that are expected of it.
    """

    spec = "wordllama"

    def __init__(self) -> None:
        require_installed("wordllama", "the features wordllama", extra="encoders")
        found = importlib.util.find_spec("wordllama")
        places = found.submodule_search_locations if found is not None else None
        folder = Path(next(iter(places or ())))
        self._files = (folder / _WEIGHTS, folder / _TOKENIZER)
        missing = [path for path in self._files if not path.is_file()]
        if missing:
            fact = f"the installed wordllama lacks {missing[0].relative_to(folder)}"
            raise InputRefused([Problem("wordllama", fact, "install wordllama 0.4")])
        tokenizers = needed("tokenizers", "the features wordllama", extra="encoders")
        self._tokenizer: Tokenizer = tokenizers.Tokenizer.from_file(str(self._files[1]))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        from safetensors.numpy import load_file

        self._table: NDArray[np.float16] = load_file(self._files[0])[_TENSOR]

    def inputs(self, queries: Sequence[Conversation]) -> Inputs:
        """Features of some queries, shape [n, 256]."""
        rows = [self._row(_ends(prompt_text(query))) for query in queries]
        vectors = np.array(rows) if rows else np.zeros((0, self._table.shape[1]))
        return Inputs(vectors, np.zeros(len(rows)), ("",) * len(rows))

    def describe(self) -> dict[str, str]:
        """Digests of the weights and of the tokenizer."""
        return dict(zip(("weights", "tokenizer"), map(_digest, self._files), strict=True))

    def _row(self, text: str) -> NDArray[np.float64]:
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        if not ids:
            return np.zeros(self._table.shape[1])
        mean: NDArray[np.float64] = self._table[ids].astype(np.float64).mean(axis=0)
        return mean / max(float(np.linalg.norm(mean)), 1e-12)


def _ends(text: str) -> str:
    if len(text) <= READ_CHARACTERS:
        return text
    half = READ_CHARACTERS // 2
    return text[:half] + text[-half:]


def _digest(path: Path) -> str:
    return list(digest_file(path))[-1][1]
