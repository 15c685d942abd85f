"""Vocabularies of one tokenizer that differ only in how far their embeddings are padded.

Trainers round the number of rows up, to different multiples: rows that no token uses.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.tokenizer import used_rows

_FIELD = "vocab_size"


@dataclass(frozen=True, slots=True)
class Padding:
    """Rows that only one side has, and that no token uses.

    Attributes:
        field: Dotted path of the field of config.json that holds the number of rows.
        instruct: Number of rows in Instruct.
        thinking: Number of rows in Thinking.
        tokens: Number of rows that tokens use, on both sides.
        tensors: Names of the tensors that differ in their rows alone, sorted.
    """

    field: str
    instruct: int
    thinking: int
    tokens: int
    tensors: tuple[str, ...]

    def __str__(self) -> str:
        """Describe the difference with both values."""
        first, *others = map(repr, self.tensors)
        more = f" and {len(others)} more" if len(others) > 1 else "".join(f" and {name}" for name in others)
        return (
            f"{self.field} is {self.instruct} in instruct and {self.thinking} in thinking, but both"
            f" tokenizers have only {self.tokens} tokens: the other rows of {first}{more} are padding"
        )

    @property
    def way_out(self) -> str:
        """How to give both sides the same rows today."""
        rows = min(self.instruct, self.thinking)
        larger = "instruct" if self.instruct > self.thinking else "thinking"
        return (
            f"cut the padding of {larger}: load it with transformers, call resize_token_embeddings({rows})"
            " and save_pretrained, copy its tokenizer files beside them, and give this copy"
        )


def vocabulary_padding(instruct: Checkpoint, thinking: Checkpoint) -> Padding | None:
    """Return how the vocabularies are padded differently; None if they are not, or hold different tokens."""
    rows, other_rows = _rows(instruct.config), _rows(thinking.config)
    if rows is None or other_rows is None or rows[1] == other_rows[1]:
        return None
    left, right = instruct.tensors(), thinking.tensors()
    names = tuple(
        name
        for name in sorted(left.keys() & right.keys())
        if (left[name][1].shape[:1], right[name][1].shape[:1]) == ((rows[1],), (other_rows[1],))
        and left[name][1].shape[1:] == right[name][1].shape[1:]
    )
    counts = [used_rows(side) for side in (instruct, thinking)] if names else []
    known = [count for count in counts if count]
    if len(known) < 2 or max(known) > min(rows[1], other_rows[1]):
        return None
    return Padding(rows[0], rows[1], other_rows[1], max(known), names)


def _rows(config: Mapping[str, object]) -> tuple[str, int] | None:
    text = config.get("text_config")
    for prefix, fields in (("", config), ("text_config.", text if isinstance(text, dict) else {})):
        value = fields.get(_FIELD)
        if isinstance(value, int):
            return f"{prefix}{_FIELD}", value
    return None
