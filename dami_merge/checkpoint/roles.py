"""Tell from names and chat templates whether the two sides of a pair were given in the wrong order.

A grid of swapped sides builds without any other sign: λ = 0 would be the Thinking model. Names and templates
are only evidence, so that this is a note and never a refusal: whatever is given first is System 1.
"""

import re

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.tokenizer import chat_template

_THINKING = frozenset({"thinking", "think", "thinker", "reasoning", "reasoner", "r1", "qwq", "cot"})
_INSTRUCT = frozenset({"instruct", "chat", "it", "nonthinking"})
_OPENS = re.compile(r"add_generation_prompt(?!.*add_generation_prompt).*<think>(?!.*</think>)", re.DOTALL)
"""A template that begins each answer inside a thinking block, as those of Thinking models do."""


def swapped_note(instruct: Checkpoint, thinking: Checkpoint) -> str | None:
    """Return a note if the sides look swapped: by their names, or else by their chat templates.

    Args:
        instruct: The side that was given for λ = 0.
        thinking: The side that was given for λ = 1.
    """
    left, right = _named(instruct), _named(thinking)
    if left == right:
        left, right = _opens(instruct), _opens(thinking)
        why = "only its chat template begins an answer inside <think>"
    else:
        why = "its name says so" if left == "thinking" else "the name of the other side says so"
    if (left, right) not in {("thinking", ""), ("thinking", "instruct"), ("", "instruct")}:
        return None
    return (
        f"warning: the sides look swapped: {instruct.source_id} is given as Instruct (λ = 0) but looks like"
        f" the Thinking model ({why}); if so, give {thinking.source_id} first"
    )


def _named(side: Checkpoint) -> str:
    """Return the role that a model's name states: `thinking`, `instruct`, or empty if none or both."""
    name = side.source_id.rpartition("/")[2].casefold().replace("non-thinking", "nonthinking")
    words = set(re.split(r"[^a-z0-9]+", name))
    said = [role for role, known in (("thinking", _THINKING), ("instruct", _INSTRUCT)) if words & known]
    return said[0] if len(said) == 1 else ""


def _opens(side: Checkpoint) -> str:
    return "thinking" if _OPENS.search(chat_template(side) or "") else ""
