"""Continue prompts with `generate` of transformers, and with nothing that the model's own settings add."""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


def continued(
    model: "PreTrainedModel",
    prompts: Sequence[Sequence[int]],
    *,
    new_tokens: int,
    end_ids: Collection[int],
    pad_id: int,
    processors: "Sequence[Callable[[Tensor, Tensor], Tensor]]" = (),
) -> list[list[int]]:
    """Continue each prompt with its most likely tokens, all prompts in one batch.

    Args:
        model: The model; its generation config is put back afterwards.
        prompts: Token ids of each prompt, at least one; they are padded on the left.
        new_tokens: Maximum number of tokens to add.
        end_ids: Tokens that end an answer.
        pad_id: Token that pads the batch; it is masked.
        processors: Change the logits of each step, such as to draw a token instead of the most likely one.

    Returns:
        The tokens added to each prompt. An answer that ends before the longest one is padded after its end.

    Raises:
        torch.cuda.OutOfMemoryError: The batch does not fit on the device.

    Peak memory: the KV cache of the batch.
    """
    from transformers import GenerationConfig, LogitsProcessorList

    config = GenerationConfig(  # type: ignore[no-untyped-call]  # transformers does not annotate __init__
        do_sample=False, max_new_tokens=new_tokens, eos_token_id=list(end_ids) or None, pad_token_id=pad_id
    )
    longest = max(map(len, prompts))
    gaps = [longest - len(prompt) for prompt in prompts]
    ids = [[pad_id] * gap + list(prompt) for gap, prompt in zip(gaps, prompts, strict=True)]
    mask = [[0] * gap + [1] * (longest - gap) for gap in gaps]
    generate: Any = model.generate
    own = model.generation_config
    model.generation_config = config  # `generate` takes missing settings, such as penalties, from here
    try:
        with torch.inference_mode():
            whole = generate(
                torch.tensor(ids, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                generation_config=config,
                logits_processor=LogitsProcessorList(processors),
            )
    finally:
        model.generation_config = own
    added: list[list[int]] = whole[:, longest:].tolist()
    return added
