"""What a differing field of config.json means for a merge, in one sentence. Knows field names only."""

from collections.abc import Mapping

_LEAVES: Mapping[str, str] = {
    "architectures": "two architectures compute different functions of the same weights",
    "model_type": "two architectures compute different functions of the same weights",
    "rope_theta": "queries and keys rotate by different angles, so attention weighs positions differently",
    "rope_type": "positions are scaled differently, so attention weighs them differently",
    "rope_scaling": "positions are scaled differently, so attention weighs them differently",
    "rope_parameters": "positions are scaled differently, so attention weighs them differently",
    "partial_rotary_factor": "different parts of queries and keys are rotated",
    "tie_word_embeddings": "one side has its own output layer, which the other side's config would drop",
    "hidden_act": "the feed-forward layers use different activation functions",
    "hidden_activation": "the feed-forward layers use different activation functions",
    "rms_norm_eps": "norms use a different epsilon: a small effect, but in every layer",
    "layer_norm_eps": "norms use a different epsilon: a small effect, but in every layer",
    "num_attention_heads": "the same matrices are split into different heads",
    "num_key_value_heads": "the same matrices are split into different heads",
    "head_dim": "the same matrices are split into different heads",
    "sliding_window": "attention reaches less far back on one side",
    "use_sliding_window": "attention reaches less far back on one side",
    "max_window_layers": "different layers use the sliding window",
    "layer_types": "layers use different types of attention",
    "attention_bias": "biases are added on one side only",
    "num_experts_per_tok": "each token is routed to a different number of experts",
    "norm_topk_prob": "experts are weighted differently",
    "attn_logit_softcapping": "attention logits are capped differently",
    "final_logit_softcapping": "output logits are capped differently",
    "vocab_size": "the rows of the embeddings and the output layer are not the same tokens",
    "max_position_embeddings": "engines allow the donor's context length; one side was not trained that far",
    "model_max_length": "engines allow the donor's context length; one side was not trained that far",
    "bos_token_id": "prompts begin with the donor's token",
    "eos_token_id": "generation stops at the donor's tokens",
    "pad_token_id": "affects padding only",
    "dtype": "the dtype of the stored weights counts, not this field",
    "transformers_version": "only records which version wrote the file",
    "use_cache": "affects speed only",
}
_NEUTRAL = "the forward pass does not depend on it: each checkpoint takes its donor's value"
_UNKNOWN = "assumed to change the forward pass: each checkpoint would compute with its donor's value"


def consequence(field: str, *, neutral: bool) -> str:
    """Describe what a difference in this field means.

    Args:
        field: Dotted path; its last part with a known consequence counts.
        neutral: Whether the forward pass is independent of it.
    """
    known = (_LEAVES[part] for part in reversed(field.split(".")) if part in _LEAVES)
    return next(known, _NEUTRAL if neutral else _UNKNOWN)
