"""Texts and prompts as token ids, and as padded batches of them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dami_merge.connectivity.texts import Text
from dami_merge.errors import InputRefused, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BATCH_TOKENS = 1024


def encode_text(tokenizer: "PreTrainedTokenizerBase", text: Text, max_tokens: int) -> tuple[list[int], int]:
    """Return the token ids and the index of the first scored one; the very first token is never scored."""
    if not text.prompt:
        ids: list[int] = tokenizer(text.scored)["input_ids"]
        return ids[:max_tokens], min(1, len(ids))
    prompt = encode_prompt(tokenizer, text.prompt)
    answer: list[int] = tokenizer(text.scored, add_special_tokens=False)["input_ids"] if text.scored else []
    whole = (prompt + answer)[:max_tokens]
    return whole, min(len(prompt) if answer else 1, len(whole))


def encode_prompt(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> list[int]:
    """Return the token ids of a prompt in the chat template, up to where the answer begins.

    Raises:
        InputRefused: The tokenizer has no chat template.
    """
    if tokenizer.chat_template is None:
        message = "a text has a prompt, but the tokenizer has no chat template"
        raise InputRefused([Problem("path", message, 'use {"text": …}')])
    turn = [{"role": "user", "content": prompt}]
    rendered = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    ids: list[int] = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    return ids


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
