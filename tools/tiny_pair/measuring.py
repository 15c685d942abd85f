"""What the models between the two endpoints answer: accuracy, tokens, thinking and checking at every λ.

Knows nothing of how the pair was trained or how its table is shown; reads the two models and writes no file.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from tiny_pair.model import MAX_NEW_TOKENS, TEMPERATURE, TOP_K, TOP_P, decoding, load_model
from tiny_pair.routing import routed
from tiny_pair.skills import CHECK
from tiny_pair.task import Asked
from tiny_pair.tokenizer import END, END_THINK, TOKEN_ID, VOCABULARY, encode, prompt_text
from tiny_pair.weights import LAMBDA_STEPS, interpolated, least_layer_cosine

ROWS_AT_ONCE = 1024
GRADES = ("accuracy", "tokens", "thinks", "checks")
"""What is known of every response; the last axis of what `answers` returns."""


class WeightsUnfit(ValueError):
    """The saved weights are not those of the saved config."""


def graded(answer: str, response: Sequence[int]) -> tuple[float, float, float, float]:
    """What `GRADES` names: correct, tokens with the end token, whether a block was closed, and checked."""
    end = TOKEN_ID[END]
    tokens = response.index(end) + 1 if end in response else len(response)
    text = "".join(VOCABULARY[i] for i in response[:tokens])
    thinking, closed, final = text.rpartition(END_THINK)
    return float(final == f"{answer}{END}"), tokens, float(bool(closed)), float(CHECK in thinking)


@torch.inference_mode()
def answers(
    model: LlamaForCausalLM, questions: Sequence[Asked], temperature: float, samples: int, seed: int
) -> torch.Tensor:
    """Grades of every response, float64 [questions, samples, grades].

    A response cut at MAX_NEW_TOKENS is wrong and costs them all. Questions of one length are
    generated together, so that nothing is padded.
    """
    torch.manual_seed(seed)
    model.eval()  # type: ignore[no-untyped-call]  # untyped in transformers
    model.generation_config = decoding(temperature)
    generate: Callable[..., torch.Tensor] = getattr(model, "generate")  # noqa: B009  # mistyped self
    grades = torch.zeros(len(questions), samples, len(GRADES), dtype=torch.float64)
    for places in _batches(questions, max(1, ROWS_AT_ONCE // samples)):
        prompts = torch.tensor([encode(prompt_text(questions[place].text)) for place in places])
        prompts = prompts.repeat_interleave(samples, dim=0)
        output = generate(prompts, attention_mask=torch.ones_like(prompts))
        for row, response in enumerate(output[:, prompts.shape[1] :].tolist()):
            place, sample = places[row // samples], row % samples
            grades[place, sample] = torch.tensor(graded(questions[place].answer, response))
    return grades


def _batches(questions: Sequence[Asked], size: int) -> Iterator[list[int]]:
    """Places of questions of one cell: alike in length and in how much is answered."""
    for cell in sorted({asked.cell for asked in questions}):
        places = [place for place, asked in enumerate(questions) if asked.cell == cell]
        for first in range(0, len(places), size):
            yield places[first : first + size]


def summary(questions: Sequence[Asked], grades: torch.Tensor) -> dict[str, Any]:
    """Means over all and by group; standard errors are over questions, not samples."""
    means = grades.mean(1)
    errors = (means.std(0) / math.sqrt(len(means))).tolist()
    row: dict[str, Any] = dict(
        zip(GRADES, (round(value, 4) for value in means.mean(0).tolist()), strict=True)
    )
    cells = dict.fromkeys(asked.cell for asked in questions)
    by_group = {}
    for cell in cells:
        own = means[[asked.cell == cell for asked in questions]].mean(0).tolist()
        by_group[cell] = {"accuracy": round(own[0], 4), "tokens": round(own[1], 2)}
    return row | {
        "accuracy_standard_error": round(errors[0], 4),
        "tokens_standard_error": round(errors[1], 3),
        "by_group": by_group,
    }


def members(output: Path) -> Iterator[tuple[int, LlamaForCausalLM]]:
    """The models at every λ in turn, as one object whose weights change: (numerator, model).

    Raises:
        WeightsUnfit: A tensor is missing or unknown to the config.
    """
    instruct, thinking = (load_file(output / name / "model.safetensors") for name in ("instruct", "thinking"))
    model = load_model(output / "instruct")
    for numerator in range(LAMBDA_STEPS + 1):
        # Tied output weights are not in the file, hence not strict; the names are checked here.
        outcome = model.load_state_dict(interpolated(instruct, thinking, numerator), strict=False)
        if outcome.unexpected_keys or outcome.missing_keys != ["lm_head.weight"]:
            raise WeightsUnfit(f"weights do not fit the config: {outcome}")
        yield numerator, model


def measure_pair(
    output: Path,
    questions: Sequence[Asked],
    samples: int,
    seed: int,
    progress: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """The λ table of the pair saved in `output`, as it is written to lambda_table.json.

    Args:
        output: Folder with the two models' folders.
        questions: Held-out questions.
        samples: Answers to each question when sampling, at least 2; greedy gives one.
        seed: Of the sampling, anew for every row and decoding; and of the bootstrap.
        progress: Called with each row of the table once it is measured.

    Raises:
        WeightsUnfit: A tensor is missing or unknown to the config.
    """
    decodings = {"greedy": (0.0, 1), "sampled": (TEMPERATURE, samples)}
    rows, sampled = [], []
    for numerator, model in members(output):
        row: dict[str, Any] = {"lambda": numerator / LAMBDA_STEPS}
        for name, (temperature, count) in decodings.items():
            grades = answers(model, questions, temperature, count, seed)
            row[name] = summary(questions, grades)
        sampled.append(grades)
        rows.append(row)
        progress(row)
    files = {name: output / name / "model.safetensors" for name in ("instruct", "thinking")}
    return {
        "decoding": {
            "greedy": {"max_new_tokens": MAX_NEW_TOKENS, "samples": 1, "temperature": 0.0},
            "sampled": {
                "max_new_tokens": MAX_NEW_TOKENS,
                "samples": samples,
                "temperature": TEMPERATURE,
                "top_k": TOP_K,
                "top_p": TOP_P,
            },
        },
        "layer_cosine_min": round(least_layer_cosine(*(load_file(file) for file in files.values())), 6),
        "questions": len(questions),
        "routed_by_group": routed(
            torch.stack(sampled)[..., :2].numpy(), [asked.cell for asked in questions], seed
        ),
        "rows": rows,
        "seed": seed,
        "sha256": {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()},
    }
