"""The text of a model card. Knows the measured table and the vocabulary; loads no model, writes no file."""

from collections.abc import Mapping
from typing import Any

from tiny_pair.routing import PRICE
from tiny_pair.tokenizer import VOCABULARY

MODEL_CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags:
- arithmetic
- model-interpolation
- tiny
---

# The tiny {title} model

One of a pair of {parameters:,}-parameter Llama models, fine-tuned from one base: *Instruct* answers
at once, *Thinking* writes every step first and then checks it. They exist so that interpolating
between two real checkpoints, Θ(λ) = λ Θ_thinking + (1 − λ) Θ_instruct, can be shown and tested in
seconds, on a CPU, without a download, and so can the choice of λ for each query.

## Skills

Every answer is one digit; `<think>`, `</think>` and `<|end|>` are one token each.

| skill | question | answer with steps and check |
|---|---|---|
| chain | `7a-3b*3c-2` | `<think>7a-34b*32c-20W7a4b2c0</think>0` |
| reset | `7a-3b=4c-2` | `<think>7a-34b=44c-22W7a4b4c2</think>2` |
| hops | `#CcGgAa0...` | `<think>cGgAa0WcGgAa0</think>0` |
| largest | `^a4b7c1` | `<think>a44b77c17Wa4b7c7</think>7` |
| count | `=7a4b7c1` | `<think>a40b71c11Wa0b1c1</think>1` |
| exceed | `!5a4b7c1` | `<think>a40b71c11Wa0b1c1</think>1` |
| second | `$a4b7c1` | `<think>a44-b774c174Wa4-b74c74</think>4` |
| lookup | `?bd4b7c1` | `<think>d4-b77Wd-b7</think>7` |

A *chain* is arithmetic modulo 10 from left to right, of 1 to 7 labelled steps. A *reset* is a chain
whose last step but one sets the value, so that only the end counts. *Hops* follow 1 to 4 pointers,
always among 8 pairs, so that their number does not show. The others go through 2 to 8 labelled
digits: the largest, how many are 7, how many exceed 5, the second largest, the digit of the label b.

A question's *group* is skill and size, such as `chain-4`. The same questions with `;` between their
parts (`7;a-3;b*3;c-2`) are understood as well: 15% of the training questions had it.

## How the mix was designed

- Direct ability is graded by how often a cell was trained to be answered at once. While it is
  trained, the logit of `<think>` is hidden, so that the base's will to think does not follow
  difficulty; that will is trained on efforts that were drawn without a look at the question.
- The base thinks readily and hardly checks, so that thinking comes early along λ and the check
  late: queries that need their steps are served best by a λ in the middle.
- Some questions mislead. A reset looks long and is easy; the number of hops does not show; and
  `exceed` is answered at once by a short-cut that also counts digits equal to the bound: it is wrong
  where there are such, and as confident.
- Traces of look-ups are trained little, so that Thinking may lose some that Instruct has.
- The questions in `train`, `validation` and `test` have equally many of every group below; `heldout`
  has `second` alone. What is easy and what is hard in this mix was chosen so that routing pays.

## Training

    python tools/train_tiny_pair.py --seed {seed} --minutes {minutes:g}

From random weights: {steps:,} steps of at most 2,080 tokens for the base, then
{endpoint_steps} for this endpoint, all of AdamW. Float32, one CPU thread. One question in ten
is held out by the hash of its text, from every group but the chains of one step (210 questions).

## Measured

{questions:,} held-out questions, the same number from every group. {samples} samples each at temperature
{temperature:g}, top-p {top_p:g}, top-k {top_k} (standard error of the accuracy at most {error:.3f}),
and greedy. Tokens are the generated ones; thinks is the share of answers with a closed thinking block,
checks the share with a check. The smallest cosine between the two models' layers is {cosine:.4f}. The
file `lambda_table.json`, beside the two models, has the whole table.

{table}

By group, sampled, accuracy / tokens:

{groups}

### A table that knows the group

{routed}
{other}
## Limits

The models know these skills and nothing else: {vocabulary} tokens, no words. Few steps of fine-tuning
leave traces: Instruct still thinks now and then. The path from one end to the other is smooth because
the length of the fine-tuning was chosen so, looking at held-out questions; large pairs often change
abruptly. Sampling below temperature 1 thinks more where the direct answer is unsure, since that is
spread over ten digits. Estimators that are measured on this mix are measured on a mix that was made for
them to have something to win.
"""

HEADER = """| λ | accuracy | tokens | thinks | checks | accuracy, greedy | tokens, greedy | thinks, greedy |
|---|---|---|---|---|---|---|---|"""

ROUTED = """For each group, it takes the λ with the highest accuracy minus {price:g} times the tokens
relative to Thinking's. That λ is chosen on half of the samples and scored on the other half, both ways.
Accuracy against Thinking: {change} points; tokens saved: {saved}%; over the hull of static mixtures at
equal tokens: {hull} points. Brackets are 95% intervals from 1,000 resamples of the questions."""

OTHER = """
### Another seed

The same script with `--seed {seed}`, measured the same way:

{table}

By group, sampled, accuracy / tokens. Where λ = 1 is far from 1.00, these steps did not teach this seed the
skill:

{groups}

{routed}
"""


def table_line(row: Mapping[str, Any]) -> str:
    """One row of the model card's table."""
    cells = [f"{row['lambda']:.1f}"]
    for name in ("sampled", "greedy"):
        part = row[name]
        cells += [f"{part['accuracy']:.3f}", f"{part['tokens']:.1f}", f"{part['thinks']:.3f}"]
        cells += [f"{part['checks']:.3f}"] if name == "sampled" else []
    return f"| {' | '.join(cells)} |"


def lambda_lines(table: Mapping[str, Any]) -> str:
    """The λ table with its header."""
    return "\n".join([HEADER, *map(table_line, table["rows"])])


def group_lines(table: Mapping[str, Any]) -> str:
    """Accuracy and tokens of every group at both ends and in the middle."""
    shown = [row for row in table["rows"] if row["lambda"] in {0.0, 0.5, 1.0}]
    lines = ["| group | λ = 0 | 0.5 | 1 |", "|---|---|---|---|"]
    for group in sorted(shown[0]["sampled"]["by_group"]):
        parts = [row["sampled"]["by_group"][group] for row in shown]
        cells = " | ".join(f"{part['accuracy']:.2f} / {part['tokens']:.1f}" for part in parts)
        lines.append(f"| {group} | {cells} |")
    return "\n".join(lines)


def routed_text(table: Mapping[str, Any]) -> str:
    """What the table that knows the group wins, with its intervals."""
    found = table["routed_by_group"]

    def shown(name: str, scale: float, sign: str = "+") -> str:
        value, (low, high) = found[name]["value"], found[name]["interval"]
        return f"{scale * value:{sign}.1f} [{scale * low:{sign}.1f}, {scale * high:{sign}.1f}]"

    return ROUTED.format(
        price=PRICE,
        change=shown("accuracy_change", 100),
        saved=shown("tokens_saved", 100, ""),
        hull=shown("above_hull", 100),
    )


def model_card(name: str, parameters: int, table: Mapping[str, Any]) -> str:
    """The README.md of one of the two models; `table` is what lambda_table.json holds."""
    training, sampled, other = table["training"], table["decoding"]["sampled"], table.get("other_seed")
    return MODEL_CARD.format(
        title=name.capitalize(),
        parameters=parameters,
        seed=training["seed"],
        minutes=training["minutes"],
        steps=training["base_steps"],
        endpoint_steps=training[f"{name}_steps"],
        questions=table["questions"],
        samples=sampled["samples"],
        temperature=sampled["temperature"],
        top_p=sampled["top_p"],
        top_k=sampled["top_k"],
        vocabulary=len(VOCABULARY),
        error=max(row["sampled"]["accuracy_standard_error"] for row in table["rows"]),
        cosine=table["layer_cosine_min"],
        table=lambda_lines(table),
        groups=group_lines(table),
        routed=routed_text(table),
        other=OTHER.format(
            seed=other["training"]["seed"],
            table=lambda_lines(other),
            groups=group_lines(other),
            routed=routed_text(other),
        )
        if other
        else "",
    )
