"""The next token of every row of a batch, drawn so that a row does not depend on its neighbours.

`generate` of transformers samples all rows from one global generator. Here each row has its own (Philox,
keyed by the answer's seed), of which a token costs one number: the tokens that temperature, top-k and top-p
leave are laid end to end in the order of their ids, each as long as it is probable, and the number says where
to point. Unlike the Gumbel-max trick this needs no noise of [rows, vocabulary], and the order by id (not by
probability) keeps a rounding that swaps two nearly equal tokens from changing what is drawn.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dami_merge.sampling import SamplingSettings

_BLOCK = 256
"""Numbers that are drawn ahead for each row: one copy to the device for so many tokens."""


class Draw:
    """A logits processor for one batch: leaves one token of each row, for greedy `generate` to take.

    Attributes:
        finite: Whether no logit was NaN so far; a 0-dimensional bool tensor, so that a GPU need not wait.
    """

    def __init__(self, sampling: SamplingSettings, seeds: Sequence[int], *, prompt_tokens: int) -> None:
        """Prepare the rows.

        Args:
            sampling: Temperature 0 leaves the logits alone.
            seeds: Of each row, 128 bits.
            prompt_tokens: Length of the padded prompts: what is generated is counted from there.
        """
        self._sampling = sampling
        self._prompt_tokens = prompt_tokens
        self._rows = [np.random.Generator(np.random.Philox(key=seed)) for seed in seeds]
        self._block = torch.empty(0)
        self.finite = torch.tensor(True)  # noqa: FBT003 - a value, not an option

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Raise the drawn token of each row above all others.

        Args:
            input_ids: Shape [rows, tokens so far].
            scores: Logits, float32, shape [rows, vocabulary]; written to.
        """
        self.finite = self.finite.to(scores.device) & ~scores.amax(dim=-1).isnan().any()
        if self._sampling.temperature == 0:
            return scores
        place = (input_ids.shape[1] - self._prompt_tokens) % _BLOCK
        if place == 0:
            numbers = np.stack([row.random(_BLOCK, dtype=np.float32) for row in self._rows], axis=1)
            self._block = torch.from_numpy(numbers).to(scores.device)
        return scores.scatter_(1, drawn(scores, self._block[place], self._sampling), torch.inf)


def drawn(scores: Tensor, numbers: Tensor, sampling: SamplingSettings) -> Tensor:
    """The token that each row's number points at.

    Args:
        scores: Logits, float32, shape [rows, vocabulary].
        numbers: Uniform in [0, 1), float32, shape [rows].
        sampling: Temperature above 0. Top-p keeps the most probable tokens up to the one that reaches it, of
            those that top-k has kept, as transformers and vLLM do.

    Returns:
        Ids, shape [rows, 1].
    """
    values = scores / sampling.temperature
    ids = None
    if 0 < sampling.top_k < values.shape[1]:
        values, ids = values.topk(sampling.top_k)
    elif sampling.top_p < 1:
        values, ids = values.sort(descending=True, stable=True)
    share = values.softmax(dim=-1)
    if ids is not None:
        if sampling.top_p < 1:
            share = share.where(share.cumsum(dim=-1) - share < sampling.top_p, 0)
        ids, order = ids.sort(dim=-1)
        share = share.gather(1, order)
    reach = share.cumsum(dim=-1).where(share > 0, 0)  # a GPU's running sum may waver, and hit the impossible
    target = numbers[:, None] * reach.amax(dim=-1, keepdim=True)  # rounded, it is still below the largest
    first = (reach > target).byte().argmax(dim=-1, keepdim=True)
    return first if ids is None else ids.gather(1, first)
