"""The model card of a merged checkpoint: both parents, the exact recipe, and how to load it."""

import json
from collections.abc import Sequence
from fractions import Fraction

from dami_merge._version import __version__
from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.grid.plan import GridPlan, PlannedMember
from dami_merge.lambdas import fraction_text, label


def model_card(plan: GridPlan, member: PlannedMember) -> bytes:
    """Return the README.md of one checkpoint, with the metadata that the Hub reads.

    The same plan gives the same bytes: the card contains no dates and no paths.
    """
    instruct, thinking, lam = plan.pair.instruct, plan.pair.thinking, member.lam
    parents = [_described(side.source_id, side.revision) for side in (instruct, thinking)]
    front = {
        "base_model": [instruct.source_id, thinking.source_id],
        "base_model_relation": "merge",
        "library_name": "transformers",
        "tags": ["merge", "dami-merge", "model-interpolation"],
    }
    recipe = {
        "instruct": instruct.source_id,
        "instruct_revision": instruct.revision,
        "thinking": thinking.source_id,
        "thinking_revision": thinking.revision,
        "lambda": fraction_text(lam),
        "dtype": plan.recipe.dtype,
        "donor": member.donor,
        "allowed_differences": list(plan.pair.allowed),
    }
    lines = [
        "---",
        *(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items()),
        "---",
        "",
        f"# {member.served_model_name}",
        "",
        f"Linear interpolation at λ = {fraction_text(lam)} ({label(lam)}) between",
        "",
        f"- Instruct (System 1, λ = 0): {parents[0]}",
        f"- Thinking (System 2, λ = 1): {parents[1]}",
        "",
        f"{_how(lam)} Tokenizer, chat template and generation config are the"
        f" {member.donor.capitalize()} side's, byte for byte.",
        "",
        "```json",
        json.dumps(recipe, indent=2, ensure_ascii=False),
        "```",
        "",
        *_load_lines(plan.side(member.donor)),
        "",
        f"Made with dami-merge {__version__}. Method: System 1&2 Synergy via Dynamic Model Interpolation,"
        " arXiv 2601.21414.",
        "",
    ]
    return "\n".join(lines).encode()


def _how(lam: Fraction) -> str:
    if lam in {0, 1}:
        return "Every tensor is a copy of that side's."
    left, right = lam.denominator - lam.numerator, lam.numerator
    return (
        f"Every float tensor is `({left}·instruct + {right}·thinking) / {lam.denominator}`,"
        " rounded once; nothing was trained."
    )


def _described(source_id: str, revision: str) -> str:
    return f"`{source_id}`" + (f" at revision `{revision}`" if revision else "")


def _load_lines(donor: Checkpoint) -> Sequence[str]:
    auto_class = "AutoModelForImageTextToText" if "vision_config" in donor.config else "AutoModelForCausalLM"
    return (
        "```python",
        f"from transformers import {auto_class}, AutoTokenizer",
        "",
        f'model = {auto_class}.from_pretrained(".", dtype="auto")',
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        "```",
    )
