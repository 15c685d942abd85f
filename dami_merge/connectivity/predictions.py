"""The loss and the hidden states of texts at one λ, and how alike two sets of hidden states are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from dami_merge.connectivity.encoding import batches, padded

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SAMPLED_TOKENS = 512
"""Maximum number of positions whose hidden states are compared, evenly spread over all texts."""


def measured(
    model: "PreTrainedModel", encoded: Sequence[tuple[list[int], int]]
) -> tuple[float, list[Tensor]]:
    """Measure texts at the λ to which a live model is set.

    Args:
        model: The model.
        encoded: For each text, its token ids and the index of the first scored one.

    Returns:
        The negative log-likelihood of all scored tokens, in nats, and for each layer, embeddings first, the
        hidden states at no more than `SAMPLED_TOKENS` positions, float32 of shape [positions, width].
    """
    total = sum(len(ids) for ids, _ in encoded)
    stride = -(-total // SAMPLED_TOKENS)
    loss, seen = 0.0, 0
    kept: list[list[Tensor]] = []
    with torch.inference_mode():
        for batch in batches(encoded):
            ids, mask, scored = padded(batch, model.device)
            out: Any = model(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
            logits = out.logits[:, :-1].float()
            each = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
            loss += float((each.cpu().double() * scored[:, 1:].cpu()).sum())  # mps has no float64
            tokens = mask.flatten().nonzero()[:, 0]
            places = tokens[-seen % stride :: stride]
            seen += len(tokens)
            kept.append([states.flatten(0, 1)[places].float().cpu() for states in out.hidden_states])
    return loss, [torch.cat(layer) for layer in zip(*kept, strict=True)]


def alike(before: Tensor, after: Tensor) -> tuple[float, float]:
    """Return the mean cosine and the linear CKA of the hidden states of one layer at two λ."""
    cosine = functional.cosine_similarity(before.double(), after.double(), dim=1).mean()
    return float(cosine), linear_cka(before, after)


def linear_cka(left: Tensor, right: Tensor) -> float:
    """Compute the linear centred kernel alignment of two sets of hidden states at the same positions.

    Args:
        left: Shape [n, d], any float dtype.
        right: Shape [n, e], any float dtype.

    Returns:
        A value in [0, 1]; 1 if neither set varies, 0 if only one varies.
    """
    left, right = (side.double() - side.double().mean(dim=0) for side in (left, right))
    own = [float(torch.linalg.matrix_norm(side @ side.T)) for side in (left, right)]
    if min(own) == 0:
        return 1.0 if max(own) == 0 else 0.0
    shared = float(((left @ left.T) * (right @ right.T)).sum())
    return max(0.0, min(1.0, shared / (own[0] * own[1])))
