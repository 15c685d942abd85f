"""Texts and prompts as token ids, and as padded batches of them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dami_merge.checkpoint.rendering import rendered
from dami_merge.connectivity.texts import Text
from dami_merge.errors import InputRefused, Problem
from dami_merge.harmless import without_surrogates

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BATCH_TOKENS = 1024
_MOST_CHARACTERS = 1024
"""Characters of the longest token, estimated on the safe side: no more are encoded for each kept token."""


def encode_texts(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[Text], max_tokens: int
) -> list[tuple[list[int], int]]:
    """Return the token ids of each text and the index of its first scored one, which is never the very first.

    Raises:
        InputRefused: See `encode_prompts`.
    """
    prompts = iter(encode_prompts(tokenizer, [text.prompt for text in texts if text.prompt], max_tokens))
    encoded = []
    for text in texts:
        scored = _start(text.scored, max_tokens)
        if not text.prompt:
            ids: list[int] = tokenizer(scored)["input_ids"]
            encoded.append((ids[:max_tokens], min(1, len(ids))))
            continue
        prompt = next(prompts)
        answer: list[int] = tokenizer(scored, add_special_tokens=False)["input_ids"] if scored else []
        whole = (prompt + answer)[:max_tokens]
        encoded.append((whole, min(len(prompt) if answer else 1, len(whole))))
    return encoded


def encode_prompts(
    tokenizer: "PreTrainedTokenizerBase", prompts: Sequence[str], max_tokens: int
) -> list[list[int]]:
    """Return the token ids of each prompt in the chat template, up to where the answer begins.

    The end of a prompt that is far longer than `max_tokens` is left out; what is left is still longer.

    Raises:
        InputRefused: The tokenizer has no chat template, or the template rejects a prompt or exceeds the
            bounds of `checkpoint.rendering`.
    """
    if prompts and tokenizer.chat_template is None:
        message = "a text has a prompt, but the tokenizer has no chat template"
        raise InputRefused([Problem("path", message, 'use {"text": …}')])

    def render(prompt: str) -> str:
        turn = [{"role": "user", "content": prompt}]
        return str(tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True))

    encoded = []
    for prompt, found in zip(prompts, rendered(render, prompts), strict=False):
        if found.refused:
            does = f"rejects the prompt: {found.text}" if found.refused == "error" else found.text
            where = f"{tokenizer.name_or_path}: the chat template {does}"
            raise InputRefused([Problem("template", f"{where} (prompt {prompt[:60]!r})")])
        ids: list[int] = tokenizer(_start(found.text, max_tokens), add_special_tokens=False)["input_ids"]
        encoded.append(ids)
    return encoded


def _start(text: str, max_tokens: int) -> str:
    """Return as much of a text as more than `max_tokens` tokens can take."""
    start = text[: (max_tokens + 1) * _MOST_CHARACTERS]
    if without_surrogates(start) != start:
        message = f"a text holds a lone surrogate, which is no character: {start[:60]!r}"
        raise InputRefused([Problem("surrogate", message, "correct the text, or leave it out")])
    return start


def batches(encoded: Sequence[tuple[list[int], int]]) -> Iterator[list[tuple[list[int], int]]]:
    """Yield batches in the order of the texts, so that the same positions are sampled at every λ."""
    batch: list[tuple[list[int], int]] = []
    for each in encoded:
        longest = max(len(ids) for ids, _ in [*batch, each])
        if batch and longest * (len(batch) + 1) > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(each)
    yield batch


def padded(batch: Sequence[tuple[list[int], int]], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, attention mask and mask of scored tokens, each of shape [texts, longest], padded right."""
    longest = max(len(ids) for ids, _ in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask, scored = torch.zeros_like(ids), torch.zeros_like(ids)
    for row, (tokens, first) in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
        scored[row, first : len(tokens)] = 1
    return ids.to(device), mask.to(device), scored.to(device)
