"""The network of the pair: its shape, how it decodes, and a saved one loaded.

Knows nothing of the task, of training or of lambda.
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM

from tiny_pair.tokenizer import END, PAD, TOKEN_ID, VOCABULARY

MAX_NEW_TOKENS = 96
ROPE_THETA = 100.0
TEMPERATURE, TOP_P, TOP_K = 0.6, 0.95, 20
"""How answers are sampled, as `dami-merge sweep` samples them."""


def make_model(seed: int) -> LlamaForCausalLM:
    """A Llama of 4 layers and width 64; an initializer_range of 0.02 hardly learns so narrow."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        initializer_range=0.1,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=TOKEN_ID[END],
        pad_token_id=TOKEN_ID[PAD],
        dtype="float32",
    )
    return LlamaForCausalLM(config)


def decoding(temperature: float) -> GenerationConfig:
    """Sampling, or greedy at a temperature of 0."""
    sampled = temperature > 0
    return GenerationConfig(  # type: ignore[no-untyped-call]  # untyped in transformers
        do_sample=sampled,
        temperature=temperature if sampled else None,
        top_p=TOP_P if sampled else None,
        top_k=TOP_K if sampled else None,
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=TOKEN_ID[END],
        pad_token_id=TOKEN_ID[PAD],
    )


def load_model(folder: Path) -> LlamaForCausalLM:
    """A saved model, in float32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert isinstance(model, LlamaForCausalLM)
    return model
