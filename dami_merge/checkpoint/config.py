"""Compare config.json of both sides: which differences change the forward pass and which do not.

Every field counts unless it is listed here as neutral, so that an unknown future field is refused rather
than ignored. `null` equals a missing field. Knows nothing about files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

NEUTRAL = frozenset({
    # identity and libraries
    "_name_or_path", "name_or_path", "transformers_version", "unsloth_version", "unsloth_fixed", "auto_map",
    # the dtype is taken from the tensors
    "dtype",
    # context length and token ids
    "max_position_embeddings", "model_max_length", "bos_token_id", "eos_token_id", "pad_token_id",
    "sep_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id",
    # training only
    "initializer_range", "initializer_factor", "attention_dropout", "hidden_dropout", "dropout",
    "hidden_dropout_prob", "attention_probs_dropout_prob", "activation_dropout", "resid_pdrop",
    "embd_pdrop", "attn_pdrop", "classifier_dropout", "resid_dropout", "router_aux_loss_coef",
    "router_jitter_noise", "gradient_checkpointing",
    # outputs of a call, caches, heads for other tasks
    "use_cache", "output_attentions", "output_hidden_states", "output_router_logits", "return_dict",
    "torchscript", "id2label", "label2id", "problem_type", "task_specific_params", "finetuning_task",
    # sampling parameters in older configs
    "max_length", "min_length", "max_new_tokens", "temperature", "top_p", "top_k", "do_sample",
    "num_beams", "repetition_penalty", "length_penalty", "no_repeat_ngram_size",
})  # fmt: skip

_LENGTH_AWARE_ROPE = ("dynamic", "longrope", "su", "yarn")
"""RoPE types whose angles depend on `max_position_embeddings`."""

QUANTIZATION_FIELDS = frozenset({"quantization_config", "compression_config", "quantization"})


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field of config.json that differs between the two sides.

    Attributes:
        field: Dotted path, such as `rope_theta` or `text_config.hidden_act`; RoPE fields have the same name
            in the older and the newer layout.
        instruct: Its value in Instruct; None if absent.
        thinking: Its value in Thinking; None if absent.
        neutral: Whether the forward pass is independent of it.
    """

    field: str
    instruct: object
    thinking: object
    neutral: bool


def differences(instruct: Mapping[str, object], thinking: Mapping[str, object]) -> list[FieldDifference]:
    """Compare two configs field by field, sorted by name."""
    left, right = dict(_flat(instruct)), dict(_flat(thinking))
    found = []
    for field in sorted(left.keys() | right.keys()):
        if left.get(field) != right.get(field):
            neutral = _is_neutral(field, left, right)
            found.append(FieldDifference(field, left.get(field), right.get(field), neutral))
    return found


def _is_neutral(field: str, *sides: Mapping[str, object]) -> bool:
    parent, _, leaf = field.rpartition(".")
    if leaf == "max_position_embeddings":
        below = f"{parent}." if parent else ""
        return not any(
            name.startswith(below) and name.rpartition(".")[2] == "rope_type" and value in _LENGTH_AWARE_ROPE
            for side in sides
            for name, value in side.items()
        )
    return any(part in NEUTRAL for part in field.split("."))


def _flat(config: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in _one_dtype(_plain_rope(config)).items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}.")
        elif value is not None and key not in QUANTIZATION_FIELDS:
            yield path, value


def _one_dtype(config: Mapping[str, object]) -> dict[str, object]:
    """Map `torch_dtype`, the older name, to `dtype`; like transformers, prefer `dtype` if both are given."""
    plain = {key: value for key, value in config.items() if key != "torch_dtype"}
    older = config.get("torch_dtype")
    return plain if older is None or plain.get("dtype") is not None else {**plain, "dtype": older}


def _plain_rope(config: Mapping[str, object]) -> dict[str, object]:
    """Map `rope_theta` + `rope_scaling` and the newer `rope_parameters` to one set of names."""
    plain = {key: value for key, value in config.items() if key not in QUANTIZATION_FIELDS}
    if not plain.keys() & {"rope_theta", "rope_scaling", "rope_parameters"}:
        return plain
    for layout in ("rope_scaling", "rope_parameters"):
        inner = plain.pop(layout, None)
        if not isinstance(inner, Mapping):
            plain[layout] = inner  # null is skipped later; anything else is compared unchanged
            continue
        if any(isinstance(value, Mapping) for value in inner.values()):
            plain["rope_parameters"] = inner  # one set of parameters per layer type
            continue
        for key, value in inner.items():
            if key == "type":
                plain.setdefault("rope_type", value)
            elif key == "rope_type" or key in {"rope_theta", "partial_rotary_factor"}:
                plain[key] = value
            else:
                plain[f"rope_scaling.{key}"] = value
    if plain.get("rope_parameters") is None:
        plain.setdefault("rope_type", "default")
    return plain


def with_dtype(config: Mapping[str, object], dtype: str) -> dict[str, object]:
    """Copy a config with every dtype field, nested ones included, set to the dtype of the written weights.

    Args:
        config: The donor's config.
        dtype: Name of the torch dtype, such as `bfloat16`.
    """
    changed: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            changed[key] = with_dtype(value, dtype)
        else:
            changed[key] = dtype if key in {"dtype", "torch_dtype"} and value is not None else value
    return changed
