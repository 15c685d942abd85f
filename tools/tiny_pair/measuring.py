"""What the models between the two endpoints answer: accuracy, tokens and thinking at every λ.

Knows nothing of how the pair was trained or how its table is shown; reads the two models and writes no file.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from tiny_pair.model import MAX_NEW_TOKENS, TEMPERATURE, decoding, load_model
from tiny_pair.task import Task
from tiny_pair.tokenizer import END, END_THINK, TOKEN_ID, VOCABULARY, encode, prompt_text
from tiny_pair.weights import LAMBDA_STEPS, interpolated, least_layer_cosine


class WeightsUnfit(ValueError):
    """The saved weights are not those of the saved config."""


def graded(task: Task, question: str, response: Sequence[int]) -> tuple[bool, int, bool]:
    """(correct, tokens with the end token, whether a thinking block was closed) of one response."""
    end = TOKEN_ID[END]
    tokens = response.index(end) + 1 if end in response else len(response)
    text = "".join(VOCABULARY[i] for i in response[:tokens])
    _, closed, final = text.rpartition(END_THINK)
    return final == f"{task.answer(question)}{END}", tokens, bool(closed)


@torch.inference_mode()
def measure(
    model: LlamaForCausalLM,
    task: Task,
    questions: Sequence[str],
    temperature: float,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Accuracy, tokens and share of thinking; standard errors are over questions, not samples.

    A response cut at MAX_NEW_TOKENS is wrong and costs them all. Questions of one length are
    generated together, so that nothing is padded.
    """
    torch.manual_seed(seed)
    model.eval()  # type: ignore[no-untyped-call]  # untyped in transformers
    model.generation_config = decoding(temperature)
    generate: Callable[..., torch.Tensor] = getattr(model, "generate")  # noqa: B009  # mistyped self
    means: list[list[float]] = []
    by_level: dict[str, float] = {}
    for level in task.test_levels:
        group = [q for q in questions if task.difficulty(q) == level]
        prompts = torch.tensor([encode(prompt_text(q)) for q in group])
        prompts = prompts.repeat_interleave(samples, dim=0)
        output = generate(prompts, attention_mask=torch.ones_like(prompts))
        grades = [
            graded(task, group[i // samples], row)
            for i, row in enumerate(output[:, prompts.shape[1] :].tolist())
        ]
        table = torch.tensor(grades, dtype=torch.float64).view(len(group), samples, 3).mean(1)
        means.extend(table.tolist())
        by_level[str(level)] = round(float(table[:, 0].mean()), 4)
    values = torch.tensor(means, dtype=torch.float64)
    average = values.mean(0).tolist()
    error = (values.std(0) / math.sqrt(len(values))).tolist()
    return {
        "accuracy": round(average[0], 4),
        "accuracy_by_steps": by_level,
        "accuracy_standard_error": round(error[0], 4),
        "thinks": round(average[2], 4),
        "tokens": round(average[1], 3),
        "tokens_standard_error": round(error[1], 3),
    }


def measure_pair(
    output: Path,
    task: Task,
    questions: Sequence[str],
    samples: int,
    seed: int,
    progress: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """The λ table of the pair saved in `output`, as it is written to lambda_table.json.

    Args:
        output: Folder with the two models' folders.
        task: What is asked.
        questions: Held-out questions; every test level has some.
        samples: Answers to each question when sampling; greedy gives one.
        seed: Of the sampling, anew for every row and decoding.
        progress: Called with each row of the table once it is measured.

    Raises:
        WeightsUnfit: A tensor is missing or unknown to the config.
    """
    files = {name: output / name / "model.safetensors" for name in ("instruct", "thinking")}
    instruct, thinking = load_file(files["instruct"]), load_file(files["thinking"])
    model = load_model(output / "instruct")
    decodings = {"greedy": (0.0, 1), "sampled": (TEMPERATURE, samples)}
    rows = []
    for numerator in range(LAMBDA_STEPS + 1):
        # Tied output weights are not in the file, hence not strict; the names are checked here.
        outcome = model.load_state_dict(interpolated(instruct, thinking, numerator), strict=False)
        if outcome.unexpected_keys or outcome.missing_keys != ["lm_head.weight"]:
            raise WeightsUnfit(f"weights do not fit the config: {outcome}")
        row: dict[str, Any] = {"lambda": numerator / LAMBDA_STEPS}
        for name, (temperature, count) in decodings.items():
            row[name] = measure(model, task, questions, temperature, count, seed)
        rows.append(row)
        progress(row)
    return {
        "decoding": {
            name: {"max_new_tokens": MAX_NEW_TOKENS, "samples": count, "temperature": temperature}
            for name, (temperature, count) in decodings.items()
        },
        "layer_cosine_min": round(least_layer_cosine(instruct, thinking), 6),
        "questions": len(questions),
        "rows": rows,
        "seed": seed,
        "sha256": {name: hashlib.sha256(f.read_bytes()).hexdigest() for name, f in files.items()},
    }
