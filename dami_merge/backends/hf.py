"""Backend that runs the model of a λ in this process, with `generate` of transformers.

Prompts are padded on the left and sorted by length, the longest first, so that a batch that does not fit in
memory fails at once. Answers are returned batch by batch; a batch runs until its longest answer ends.

Transformers' continuous batching (`generate_batch`, tried in 5.23) would remove that wait, but is not used:
on a CPU, it gave the same greedy answers as padded batches at a twelfth of their speed or less (800 answers
of the bundled pair in 12 to 33 s instead of 1 s), and it draws all samples from one generator, so that a
sample would depend on its neighbours. To batch long answers continuously, use a server (`OpenAIBackend`).
"""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dami_merge.backends.batch_size import checked_batch_size, rows_that_fit
from dami_merge.backends.dialogue import Decoded, Dialogue, Dialogues, Prompt
from dami_merge.backends.draw import Draw
from dami_merge.backends.models import GridModels, LiveModels, Models
from dami_merge.backends.own_settings import own_settings, settings_notes
from dami_merge.backends.seeds import answer_seed
from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.source import open_both
from dami_merge.errors import BackendError, DeviceUnfit, UsageError
from dami_merge.evaluation.generation import Generation, Request, by_lambda
from dami_merge.lambdas import label
from dami_merge.live.generating import continued
from dami_merge.sampling import SamplingSettings
from dami_merge.tensors.threads import fitting_threads

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class _Prompted:
    """One row of a batch."""

    request: Request
    prompt: Prompt
    seed: int


class HfBackend:
    """A `Backend` in this process (the extra `sweep`).

    Each sample is drawn from its own generator, so that batches of any size give the same answers, except
    where a batch of another shape rounds logits differently. Only the end tokens of the model's generation
    config are used; `notes` reports its other settings. Not thread-safe.
    """

    def __init__(self, models: Models, *, batch_size: int | None = None) -> None:
        """Use models that are already open; `from_grid` and `live` open them.

        Args:
            models: Maps λ to a model.
            batch_size: Answers generated at once; None means as many as fit in memory (`rows_that_fit`).

        Raises:
            UsageError: `batch_size` is below 1.
        """
        self._models = models
        self._batch_size = checked_batch_size(batch_size)
        self._dialogues = Dialogues()

    @classmethod
    def from_grid(
        cls, folder: Path, *, device: str = "auto", dtype: str | None = None, batch_size: int | None = None
    ) -> "HfBackend":
        """Use the checkpoints of a grid on disk, one in memory at a time.

        Args:
            folder: Folder of grid.json.
            device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
            dtype: `bfloat16`, `float16`, `float32` or `float64`; None keeps the stored dtype.
            batch_size: Answers generated at once; None means as many as fit in memory.

        Raises:
            GridUnreadable: grid.json is missing, unreadable or malformed.
        """
        return cls(GridModels(folder, device=device, dtype=dtype), batch_size=batch_size)

    @classmethod
    def live(
        cls,
        instruct: Checkpoint | str,
        thinking: Checkpoint | str,
        *,
        device: str = "auto",
        dtype: str | None = None,
        offload: bool = False,
        batch_size: int | None = None,
    ) -> "HfBackend":
        """Keep both endpoints in memory, without a grid on disk.

        Without `dtype`, the weights are bit-identical to those of the grid's checkpoints. The answers are too
        if both sides have the same `config.json`: every λ runs with Thinking's config, and λ = 0 with
        Instruct's chat template.

        Args:
            instruct: Folder, Hub id, `bundled:tiny/instruct`, or an opened checkpoint.
            thinking: Same for Thinking.
            device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
            dtype: Dtype of the model, to which each exact value is rounded once; a grid's values are rounded
                to their stored dtype before they are loaded.
            offload: Keep the endpoints in host memory.
            batch_size: Answers generated at once; None means as many as fit in memory.

        Raises:
            DamiMergeError: Same as `load_live`.
        """
        sides = open_both(instruct, thinking)
        models = LiveModels(*sides, device=device, dtype=dtype, offload=offload)
        return cls(models, batch_size=batch_size)

    def generate(
        self, requests: Sequence[Request], sampling: SamplingSettings
    ) -> Generator[tuple[Request, Generation], None, None]:
        """Answer every request, λ by λ and batch by batch, the longest prompts first.

        `seconds` of an answer is an equal share of the wall time of its batch.

        Raises:
            UsageError: A prompt and `max_tokens` exceed the model's context; nothing was generated at that λ.
            InputRefused: The chat template rejects questions; nothing was generated at that λ.
            DeviceUnfit: A batch does not fit in the device's memory.
            BackendError: The model computes NaN, or transformers is not installed.
            DamiMergeError: The model of a λ cannot be loaded.

        Peak memory: the model and the KV cache of one batch.
        """
        for lam, some in by_lambda(requests).items():
            yield from self._generate_at(lam, some, sampling)

    def _generate_at(
        self, lam: Fraction, requests: Sequence[Request], sampling: SamplingSettings
    ) -> Generator[tuple[Request, Generation], None, None]:
        dialogue = self._dialogues.of(self._models.sidecars(lam))
        prompts = dialogue.prompts([request.question for request in requests])
        rows = [
            _Prompted(request, prompts[request.question], answer_seed(sampling.seed, request))
            for request in requests
        ]
        rows.sort(key=lambda row: -len(row.prompt.ids))
        model = self._models.at(lam)
        _require_context(model, rows[0], sampling)
        size = self._batch_size or rows_that_fit(model, len(rows[0].prompt.ids) + sampling.max_tokens)
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            began = time.perf_counter()
            answers = _answers(model, dialogue, batch, sampling, lam)
            share = (time.perf_counter() - began) / len(batch)
            for row, answer in zip(batch, answers, strict=True):
                made = Generation(answer.text, answer.tokens, answer.finish, share, row.prompt.prefilled)
                yield row.request, made

    def notes(self, lambdas: Sequence[Fraction], sampling: SamplingSettings) -> tuple[str, ...]:
        """Describe how the settings differ from the checkpoints' generation configs, each difference once.

        Raises:
            LambdaError: A λ is not in the grid.
            InputRefused: A generation_config.json is not a JSON object.
        """
        folders = dict.fromkeys(self._models.sidecars(lam) for lam in lambdas)
        found = [note for folder in folders for note in settings_notes(own_settings(folder), sampling)]
        return tuple(dict.fromkeys(found))

    def describe(self) -> dict[str, str]:
        """Return kind of backend, digests of weights and sidecars, and dtype; no device, no batch size."""
        return self._models.describe()


def _require_context(model: "PreTrainedModel", longest: _Prompted, sampling: SamplingSettings) -> None:
    context: Any = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    prompt, question = len(longest.prompt.ids), longest.request.question.id
    if context is None or prompt + sampling.max_tokens <= context:
        return
    room = context - prompt
    raise UsageError(
        f"question {question!r} ({prompt} tokens) and an answer of up to {sampling.max_tokens} tokens do not"
        f" fit in the model's context of {context} tokens",
        hint=f"use --max-tokens {room} or less" if room > 0 else "leave the question out",
    )


def _answers(
    model: "PreTrainedModel",
    dialogue: Dialogue,
    batch: Sequence[_Prompted],
    sampling: SamplingSettings,
    lam: Fraction,
) -> list[Decoded]:
    longest = max(len(row.prompt.ids) for row in batch)
    draw = Draw(sampling, [row.seed for row in batch], prompt_tokens=longest)
    try:
        with fitting_threads(model):
            rows = continued(
                model,
                [row.prompt.ids for row in batch],
                new_tokens=sampling.max_tokens,
                end_ids=dialogue.end_ids,
                pad_id=dialogue.pad_id,
                processors=[draw],
            )
    except torch.cuda.OutOfMemoryError as error:
        what = f"{len(batch)} answers of {longest + sampling.max_tokens} tokens"
        raise DeviceUnfit(
            f"{what} do not fit on {model.device}", hint="use a smaller --batch-size or --max-tokens"
        ) from error
    if not draw.finite:
        raise BackendError(
            f"the model of λ = {label(lam)} computes NaN in {model.dtype}",
            hint="try a wider --dtype; `dami-merge verify` shows whether the checkpoint is damaged",
        )
    return [dialogue.answer(row) for row in rows]
