"""Two checkpoints that may be interpolated, or every reason why not.

There is no list of architectures: both sides must have the same tensor names, shapes and dtypes, configs that
define the same forward pass, and the same vocabulary. Reads headers and small files only.
"""

from collections.abc import Collection
from dataclasses import dataclass

from dami_merge.checkpoint.config import differences
from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.padding import vocabulary_padding
from dami_merge.checkpoint.quantization import quantization_problem
from dami_merge.checkpoint.roles import swapped_note
from dami_merge.checkpoint.tensor_sets import UNTIE, dtype_problems, one_sided_problems, shape_problems
from dami_merge.checkpoint.tokenizer import template_note, tokenizer_problems
from dami_merge.errors import InputRefused, Problem
from dami_merge.files import reading_is_clear


@dataclass(frozen=True, slots=True)
class Pair:
    """Two checkpoints that passed every check.

    Attributes:
        instruct: System 1, λ = 0.
        thinking: System 2, λ = 1.
        notes: Differences that do not forbid an interpolation, one sentence each.
        allowed: Waived fields whose difference may change the forward pass or the tokens; sorted.
    """

    instruct: Checkpoint
    thinking: Checkpoint
    notes: tuple[str, ...]
    allowed: tuple[str, ...]


def join(
    instruct: Checkpoint,
    thinking: Checkpoint,
    *,
    allow: Collection[str] = (),
    mixed_dtypes: bool = False,
) -> Pair:
    """Check two checkpoints against each other.

    Args:
        instruct: System 1.
        thinking: System 2.
        allow: Fields of config or tokenizer whose difference the user waives.
        mixed_dtypes: Accept float tensors with different dtypes, because the output dtype was given.

    Raises:
        InputRefused: The pair must not be interpolated; carries every difference that forbids it.
    """
    problems, notes = examine(instruct, thinking, mixed_dtypes=mixed_dtypes)
    waived = {problem.field for problem in problems if problem.field and problem.field in allow}
    kept = [problem for problem in problems if problem.field not in waived]
    if kept:
        raise InputRefused(kept)
    unused = sorted(set(allow) - waived)
    notes += [f"--allow-config {field} was not needed: it waives no difference" for field in unused]
    return Pair(instruct, thinking, tuple(notes), tuple(sorted(waived)))


@reading_is_clear()
def examine(
    instruct: Checkpoint, thinking: Checkpoint, *, mixed_dtypes: bool = False
) -> tuple[list[Problem], list[str]]:
    """Find all problems and notes, without raising.

    Returns:
        `(problems, notes)`; a problem with a `field` can be waived by passing the field as `allow`.
    """
    notes: list[str] = []
    problems = [
        problem for side in (instruct, thinking) if (problem := quantization_problem(side)) is not None
    ]
    padding = vocabulary_padding(instruct, thinking)
    padded = padding.tensors if padding else ()
    config = _config_problems(instruct, thinking, notes)
    problems += [problem for problem in config if not (padding and problem.field == padding.field)]
    problems += [Problem("shape", str(padding), padding.way_out)] if padding else []
    problems += one_sided_problems(instruct, thinking)
    problems += shape_problems(instruct, thinking, apart=padded)
    problems += dtype_problems(instruct, thinking, mixed=mixed_dtypes)
    problems += tokenizer_problems(instruct, thinking)
    template = template_note(instruct, thinking)
    if template:
        notes.append(template)
    swapped = swapped_note(instruct, thinking)
    if swapped:
        notes.append(swapped)
    if _same_source(instruct, thinking):
        notes.append("warning: both sides are the same checkpoint, so every λ gives that checkpoint")
    return problems, notes


def _same_source(instruct: Checkpoint, thinking: Checkpoint) -> bool:
    return instruct.root.resolve() == thinking.root.resolve()


def _config_problems(instruct: Checkpoint, thinking: Checkpoint, notes: list[str]) -> list[Problem]:
    problems = []
    for difference in differences(instruct.config, thinking.config):
        values = f"{difference.instruct!r} in instruct, {difference.thinking!r} in thinking"
        leaf = difference.field.rpartition(".")[2]
        if difference.neutral:
            notes.append(f"config {difference.field}: {values}; the forward pass does not depend on it")
        elif leaf == "tie_word_embeddings":
            problems.append(
                Problem(
                    "tied-embeddings",
                    f"{difference.field}: {values}; one side's output layer would be lost",
                    UNTIE,
                )
            )
        elif leaf in {"architectures", "model_type"}:
            problems.append(
                Problem(
                    "architecture",
                    f"{difference.field}: {values}",
                    "interpolate two fine-tunes of one base",
                )
            )
        else:
            problems.append(
                Problem(
                    "config",
                    f"config {difference.field}: {values}",
                    f"if both define the same forward pass, pass --allow-config {difference.field}",
                    difference.field,
                )
            )
    return problems
