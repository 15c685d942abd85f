"""How many answers are generated at once: as many as have room for their KV cache."""

from typing import TYPE_CHECKING, Any

import torch

from dami_merge.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_ROWS = {"cuda": 256, "cpu": 64, "mps": 64}
"""More rows bring no gain: on a CPU, larger batches are slower (bundled pair, two cores: 28,000 tokens/s with
64 rows, 23,000 with 200, 14,000 with 800)."""

_HOST_CACHE_BYTES = 4 << 30
_GPU_SHARE = 0.5
"""Share of the free memory for the cache, which grows by copying; the rest of the model needs memory too."""


def checked_batch_size(batch_size: int | None) -> int | None:
    """Return a batch size as it was given.

    Raises:
        UsageError: It is below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"the batch size must be at least 1, got {batch_size}")
    return batch_size


def rows_that_fit(model: "PreTrainedModel", tokens: int) -> int:
    """Return how many rows fit, with their KV cache, in half of a GPU's free memory, or in 4 GiB elsewhere.

    At least 1. An estimate from the config that assumes the longest answer in every row; 1 for a model whose
    config does not state its number of heads.

    Args:
        model: The model on its device.
        tokens: Maximum number of tokens in a row, including the prompt.
    """
    device = model.device
    room = _HOST_CACHE_BYTES
    if device.type == "cuda":
        room = int(torch.cuda.mem_get_info(device)[0] * _GPU_SHARE)
    each = cache_bytes(model.config, model.dtype.itemsize)
    fits = room // (each * tokens) if each else 1
    return max(1, min(fits, MOST_ROWS.get(device.type, 64)))


def cache_bytes(config: Any, itemsize: int) -> int:
    """Return the bytes of one token in the KV cache of all layers; 0 if the config does not state the sizes.

    Args:
        config: Model config of transformers.
        itemsize: Bytes of one number.
    """
    text = config.get_text_config()
    heads = getattr(text, "num_attention_heads", None)
    groups = getattr(text, "num_key_value_heads", None) or heads
    width = getattr(text, "head_dim", None) or (heads and text.hidden_size // heads)
    layers = getattr(text, "num_hidden_layers", None)
    return 2 * layers * groups * width * itemsize if layers and groups and width else 0
