"""How many answers are generated at once: what the KV cache leaves room for."""

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_ROWS = {"cuda": 256, "cpu": 64, "mps": 64}
"""More gain nothing: on a CPU a longer batch only waits longer (bundled pair, two cores: 64 rows make 28,000
tokens a second, 200 make 23,000, 800 make 14,000)."""

_HOST_CACHE_BYTES = 4 << 30
_GPU_SHARE = 0.5
"""Of the free memory: the cache grows by copying, and the rest of the model wants some."""


def rows_that_fit(model: "PreTrainedModel", tokens: int) -> int:
    """Rows whose KV cache fits in half of a GPU's free memory, or elsewhere in 4 GiB; 1 at least.

    An estimate from the config, for the longest answer in every row; a model whose config does not name its
    heads gets 1.

    Args:
        model: On its device.
        tokens: Of one row at its longest, the prompt included.
    """
    device = model.device
    room = _HOST_CACHE_BYTES
    if device.type == "cuda":
        room = int(torch.cuda.mem_get_info(device)[0] * _GPU_SHARE)
    each = cache_bytes(model.config, model.dtype.itemsize)
    fits = room // (each * tokens) if each else 1
    return max(1, min(fits, MOST_ROWS.get(device.type, 64)))


def cache_bytes(config: Any, itemsize: int) -> int:
    """Bytes that one token takes in the KV cache of all layers; 0 where the config does not say.

    Args:
        config: Of transformers.
        itemsize: Bytes of one number.
    """
    text = config.get_text_config()
    heads = getattr(text, "num_attention_heads", None)
    groups = getattr(text, "num_key_value_heads", None) or heads
    width = getattr(text, "head_dim", None) or (heads and text.hidden_size // heads)
    layers = getattr(text, "num_hidden_layers", None)
    return 2 * layers * groups * width * itemsize if layers and groups and width else 0
