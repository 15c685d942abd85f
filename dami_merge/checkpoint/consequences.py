"""What a differing field of config.json does to a merge, in one sentence. Knows field names only."""

from collections.abc import Mapping

_LEAVES: Mapping[str, str] = {
    "architectures": "two architectures compute different functions of the same weights",
    "model_type": "two architectures compute different functions of the same weights",
    "rope_theta": "queries and keys are rotated by other angles: attention looks at other places",
    "rope_type": "positions are scaled in another way: attention looks at other places",
    "rope_scaling": "positions are scaled in another way: attention looks at other places",
    "rope_parameters": "positions are scaled in another way: attention looks at other places",
    "partial_rotary_factor": "other parts of queries and keys are rotated",
    "tie_word_embeddings": "one side has an output layer of its own, which the other's config would drop",
    "hidden_act": "the feed-forward layers bend at other places",
    "hidden_activation": "the feed-forward layers bend at other places",
    "rms_norm_eps": "norms divide by another number: small, but at every layer",
    "layer_norm_eps": "norms divide by another number: small, but at every layer",
    "num_attention_heads": "the same matrices are cut into other heads",
    "num_key_value_heads": "the same matrices are cut into other heads",
    "head_dim": "the same matrices are cut into other heads",
    "sliding_window": "one side's attention sees less far back",
    "use_sliding_window": "one side's attention sees less far back",
    "max_window_layers": "other layers see less far back",
    "layer_types": "layers do other kinds of attention",
    "attention_bias": "biases are added on one side only",
    "num_experts_per_tok": "another number of experts answers each token",
    "norm_topk_prob": "experts are weighed in another way",
    "attn_logit_softcapping": "attention scores are bounded in another way",
    "final_logit_softcapping": "the output's scores are bounded in another way",
    "vocab_size": "the rows of embeddings and output are not the same tokens",
    "max_position_embeddings": "engines allow the donor's context length; one side was not trained that far",
    "model_max_length": "engines allow the donor's context length; one side was not trained that far",
    "bos_token_id": "prompts begin with the donor's token",
    "eos_token_id": "generation stops at the donor's tokens",
    "pad_token_id": "padding only",
    "torch_dtype": "what is stored decides, not this field",
    "dtype": "what is stored decides, not this field",
    "transformers_version": "who wrote the file, no more",
    "use_cache": "speed only",
}
_NEUTRAL = "the forward pass does not depend on it: each checkpoint takes its donor's value"
_UNKNOWN = "taken to change the forward pass: each checkpoint would compute with its donor's value"


def consequence(field: str, *, neutral: bool) -> str:
    """What a difference of this field means.

    Args:
        field: Dotted path; its most telling part counts.
        neutral: The forward pass does not depend on it.
    """
    known = (_LEAVES[part] for part in reversed(field.split(".")) if part in _LEAVES)
    return next(known, _NEUTRAL if neutral else _UNKNOWN)
