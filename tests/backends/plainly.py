"""Greedy short answers of one prompt at a time, without padding or a cache: what probes are compared with."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING
from dami_merge.checkpoint.source import open_source

ENDS = {Fraction(0): open_source(BUNDLED_INSTRUCT).root, Fraction(1): open_source(BUNDLED_THINKING).root}


@dataclass(frozen=True)
class Step:
    """One generated token, and the logits before and after a bias, shape [vocabulary]."""

    token: int
    raw: torch.Tensor
    biased: torch.Tensor


class Plain:
    """One folder's model and tokenizer."""

    def __init__(self, folder: Path) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    def prompt(self, turns: Sequence[Mapping[str, str]]) -> list[int]:
        text = self.tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=True)
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def steps(self, prompt: Sequence[int], bias: Mapping[int, float], most: int) -> list[Step]:
        """Until an end token, which is one of the steps."""
        ends = self.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        ids, steps = list(prompt), list[Step]()
        while len(steps) < most and not (steps and steps[-1].token in ends):
            with torch.inference_mode():
                raw = self.model(torch.tensor([ids])).logits[0, -1].float()
            biased = raw.clone()
            for token, value in bias.items():
                biased[token] += value
            token = int(biased.argmax())
            ids.append(token)
            steps.append(Step(token, raw, biased))
        return steps

    def ended(self, steps: Sequence[Step]) -> bool:
        end = self.model.generation_config.eos_token_id
        return steps[-1].token in (end if isinstance(end, list) else [end])


def completion(plain: Plain, body: dict[str, Any], *, raw: bool, cut_end: bool) -> dict[str, Any]:
    """A reply of a chat completions server with log-probabilities.

    With `raw`, they are those from before the bias, as in vLLM; with `cut_end`, an end token has none.
    """
    turns, start = body["messages"], ""
    if body.get("continue_final_message"):
        *turns, last = turns
        start = last["content"]
    ids = plain.prompt(turns) + plain.tokenizer(start, add_special_tokens=False)["input_ids"]
    bias = {int(token): value for token, value in body.get("logit_bias", {}).items()}
    steps = plain.steps(ids, bias, body["max_tokens"])
    done = plain.ended(steps)
    text = plain.tokenizer.decode([step.token for step in steps[: len(steps) - done]])
    spell: Callable[[int], str] = plain.tokenizer.convert_ids_to_tokens
    content = []
    for step in steps[: len(steps) - (done and cut_end)]:
        logs = (step.raw if raw else step.biased).log_softmax(dim=-1)
        best = logs.topk(min(body["top_logprobs"], len(logs)))
        named = [
            {"token": spell(token), "logprob": value, "bytes": None}
            for token, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
        own = {"token": spell(step.token), "logprob": float(logs[step.token]), "bytes": None}
        content.append(own | {"top_logprobs": named})
    choice = {
        "index": 0,
        "finish_reason": "stop" if done else "length",
        "message": {"role": "assistant", "content": text},
        "logprobs": {"content": content, "refusal": None},
    }
    usage = {
        "prompt_tokens": len(ids),
        "completion_tokens": len(steps),
        "total_tokens": len(ids) + len(steps),
    }
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [choice],
        "usage": usage,
    }
