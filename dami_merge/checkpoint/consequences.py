"""What a differing field of config.json does to a merge, in one sentence. Knows only field names."""

from collections.abc import Mapping

_LEAVES: Mapping[str, str] = {
    "architectures": "two architectures compute different functions from the same weights",
    "model_type": "two architectures compute different functions from the same weights",
    "rope_theta": "the angles of queries and keys differ, so attention looks at different positions",
    "rope_type": "positions are scaled differently, so attention looks at different positions",
    "rope_scaling": "positions are scaled differently, so attention looks at different positions",
    "rope_parameters": "positions are scaled differently, so attention looks at different positions",
    "partial_rotary_factor": "different parts of queries and keys are rotated",
    "tie_word_embeddings": "one side has its own output layer, which the other side's config would drop",
    "hidden_act": "the feed-forward layers use different activation functions",
    "hidden_activation": "the feed-forward layers use different activation functions",
    "rms_norm_eps": "norms use a different epsilon: a small change, but in every layer",
    "layer_norm_eps": "norms use a different epsilon: a small change, but in every layer",
    "num_attention_heads": "the same matrices are split into different heads",
    "num_key_value_heads": "the same matrices are split into different heads",
    "head_dim": "the same matrices are split into different heads",
    "sliding_window": "attention on one side reaches less far back",
    "use_sliding_window": "attention on one side reaches less far back",
    "max_window_layers": "attention is limited in different layers",
    "layer_types": "layers use different kinds of attention",
    "attention_bias": "only one side adds biases",
    "num_experts_per_tok": "each token goes to a different number of experts",
    "norm_topk_prob": "experts are weighted differently",
    "attn_logit_softcapping": "attention scores are capped differently",
    "final_logit_softcapping": "output scores are capped differently",
    "vocab_size": "the rows of the embeddings and the output layer stand for different tokens",
    "max_position_embeddings": "engines allow the donor's context length, for which one side was not trained",
    "model_max_length": "engines allow the donor's context length, for which one side was not trained",
    "bos_token_id": "prompts begin with the donor's token",
    "eos_token_id": "generation stops at the donor's tokens",
    "pad_token_id": "affects only padding",
    "torch_dtype": "the stored dtype decides, not this field",
    "dtype": "the stored dtype decides, not this field",
    "transformers_version": "only records which version wrote the file",
    "use_cache": "affects only speed",
}
_NEUTRAL = "the forward pass does not depend on it; each checkpoint takes its donor's value"
_UNKNOWN = "assumed to change the forward pass; each checkpoint would compute with its donor's value"


def consequence(field: str, *, neutral: bool) -> str:
    """Return what a difference in this field means.

    Args:
        field: Dotted path; its last known part counts.
        neutral: Whether the forward pass is independent of the field.
    """
    known = (_LEAVES[part] for part in reversed(field.split(".")) if part in _LEAVES)
    return next(known, _NEUTRAL if neutral else _UNKNOWN)
