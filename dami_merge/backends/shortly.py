"""Logits processors of a probe: what may not be generated, and how probable each greedy token was."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dami_merge.estimators.examples import Numbers
from dami_merge.estimators.probing import NAMED_TOKENS


class Unseen:
    """Forbids sequences of tokens: the last token of one gets no probability where the others precede it."""

    def __init__(self, sequences: Sequence[Sequence[int]], *, prompt_tokens: int) -> None:
        """Set what is forbidden.

        Args:
            sequences: Token ids of each forbidden text.
            prompt_tokens: Length of the padded prompts; a sequence counts only where it is generated whole.
        """
        self._sequences = [tuple(each) for each in sequences if each]
        self._prompt_tokens = prompt_tokens

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Forbid tokens.

        Args:
            input_ids: Shape [rows, tokens so far].
            scores: Logits, shape [rows, vocabulary]; modified in place.
        """
        generated = input_ids[:, self._prompt_tokens :]
        for *before, last in self._sequences:
            if len(before) > generated.shape[1]:
                continue
            tail = generated[:, generated.shape[1] - len(before) :]
            meets = (tail == torch.tensor(before, dtype=tail.dtype, device=tail.device)).all(dim=1)
            scores[meets, last] = -torch.inf
        return scores


class Recorder:
    """Keeps the log-probability of the likeliest token, and the entropy, of every row and step."""

    def __init__(self) -> None:
        self._logprobs: list[Tensor] = []
        self._entropies: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Record one step and leave the logits, of shape [rows, vocabulary], as they are."""
        del input_ids
        logs = scores.float().log_softmax(dim=-1)
        named = logs.topk(min(NAMED_TOKENS, logs.shape[1])).values
        shares = named.exp()
        rest = (1 - shares.sum(dim=-1, keepdim=True)).clamp(min=0)
        self._logprobs.append(named[:, 0])
        self._entropies.append(torch.special.entr(torch.cat([shares, rest], dim=-1)).sum(dim=-1))
        return scores

    def table(self) -> tuple[Numbers, Numbers]:
        """Log-probabilities and entropies, both in nats and of shape [rows, steps]."""
        both = (torch.stack(each, dim=1).double().cpu().numpy() for each in (self._logprobs, self._entropies))
        logprobs, entropies = both
        return logprobs, np.maximum(entropies, 0.0)
