"""Sampling of the next token of every row of a batch, independent of the other rows.

`generate` of transformers samples all rows from one global generator. Here, each row has its own generator
(Philox, keyed by the answer's seed) and uses one number per token: the tokens that temperature, top-k and
top-p keep are laid out in the order of their ids as intervals as long as their probabilities, and the number
selects one of them. Unlike the Gumbel-max trick, this needs no noise of shape [rows, vocabulary]. Because the
order is by id and not by probability, rounding that swaps two nearly equal tokens does not change the draw.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dami_merge.sampling import SamplingSettings

_BLOCK = 256
"""Numbers drawn ahead for each row, so that one copy to the device serves this many tokens."""


class Draw:
    """A logits processor for one batch: raises one drawn token in each row, for greedy `generate` to take.

    Attributes:
        finite: Whether no logit was NaN so far; a 0-dimensional bool tensor, so that a GPU need not wait.
    """

    def __init__(self, sampling: SamplingSettings, seeds: Sequence[int], *, prompt_tokens: int) -> None:
        """Create the generators of the rows.

        Args:
            sampling: Sampling parameters; a temperature of 0 leaves the logits unchanged.
            seeds: Seed of each row, 128 bits.
            prompt_tokens: Length of the padded prompts, from which the generated tokens are counted.
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
            scores: Logits, float32, shape [rows, vocabulary]; modified in place.
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
    """Return the token that each row's number selects.

    Args:
        scores: Logits, float32, shape [rows, vocabulary].
        numbers: Uniform random numbers in [0, 1), float32, shape [rows].
        sampling: Sampling parameters, with a temperature above 0. As in transformers and vLLM, top-p is
            applied after top-k and keeps the most probable tokens, including the one that reaches it.

    Returns:
        Token ids, shape [rows, 1].
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
    reach = share.cumsum(dim=-1).where(share > 0, 0)  # a GPU's running sum may waver: skip excluded tokens
    target = numbers[:, None] * reach.amax(dim=-1, keepdim=True)  # still below the largest after rounding
    first = (reach > target).byte().argmax(dim=-1, keepdim=True)
    return first if ids is None else ids.gather(1, first)
