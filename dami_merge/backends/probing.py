"""Probe the models of a pair in this process: short answers with their probabilities, and prompt states.

Short answers are generated in batches that are padded on the left, like those of `hf`. For states, prompts
are padded on the right: in a causal model no token sees what follows it, so that no state depends on padding,
whatever a model does with positions.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dami_merge.backends.batch_size import checked_batch_size, rows_that_fit
from dami_merge.backends.dialogue import Dialogue, Dialogues, Prompt
from dami_merge.backends.models import KeptModels, LiveModels, Models
from dami_merge.backends.shortly import Recorder, Unseen
from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.source import open_both
from dami_merge.errors import BackendError, DeviceUnfit, UsageError
from dami_merge.estimators.fitted import Conversation
from dami_merge.estimators.probing import (
    AT_ONCE,
    ProbeSettings,
    PromptStates,
    ShortAnswer,
    States,
    counted_tokens,
    spread_layers,
)
from dami_merge.evaluation.questions.question import Message, Question
from dami_merge.lambdas import label
from dami_merge.live.generating import continued
from dami_merge.tensors.threads import fitting_threads

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class HfProber:
    """A `Prober` in this process (the extra `sweep`). Not thread-safe."""

    def __init__(self, models: Models, *, batch_size: int | None = None) -> None:
        """Use models that are already open; `from_grid` and `live` open them.

        Args:
            models: Maps λ to a model.
            batch_size: Queries at once; None means as many as fit in memory.

        Raises:
            UsageError: `batch_size` is below 1.
        """
        self._models = models
        self._batch_size = checked_batch_size(batch_size)
        self._dialogues = Dialogues()

    @classmethod
    def from_grid(
        cls, folder: Path, *, device: str = "auto", dtype: str | None = None, batch_size: int | None = None
    ) -> "HfProber":
        """Use the endpoints of a grid on disk; each that is probed stays in memory.

        Args:
            folder: Folder of grid.json.
            device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
            dtype: `bfloat16`, `float16`, `float32` or `float64`; None keeps the stored dtype.
            batch_size: Queries at once; None means as many as fit in memory.

        Raises:
            GridUnreadable: grid.json is missing, unreadable or malformed.
        """
        return cls(KeptModels(folder, device=device, dtype=dtype), batch_size=batch_size)

    @classmethod
    def live(
        cls,
        instruct: Checkpoint | str,
        thinking: Checkpoint | str,
        *,
        device: str = "auto",
        dtype: str | None = None,
        batch_size: int | None = None,
    ) -> "HfProber":
        """Keep both endpoints in memory, without a grid on disk.

        Raises:
            DamiMergeError: Same as `load_live`.
        """
        sides = open_both(instruct, thinking)
        return cls(LiveModels(*sides, device=device, dtype=dtype), batch_size=batch_size)

    def suited(self) -> ProbeSettings:
        """Return the default settings, or `AT_ONCE` if the tokenizer cannot write the default inducer."""
        usual = ProbeSettings()
        dialogues = [self._dialogues.of(self._models.sidecars(Fraction(lam))) for lam in (0, 1)]
        return usual if all(each.can_write(usual.inducer) for each in dialogues) else AT_ONCE

    def describe(self) -> dict[str, str]:
        """Return digests of weights and sidecars, and dtype; no device, no batch size."""
        return self._models.describe()

    def short_answers(
        self, queries: Sequence[Conversation], lam: Fraction, settings: ProbeSettings
    ) -> list[ShortAnswer]:
        """Let the model of a λ answer each query at once, greedily.

        Probabilities are those among the texts that may be generated, without `hidden`.

        Raises:
            UsageError: The tokenizer cannot write the inducer, or a prompt is too long for the model.
            InputRefused: The chat template rejects queries.
            BackendError: The model computes NaN, or transformers is not installed.
            DeviceUnfit: A batch does not fit in the device's memory.
            DamiMergeError: The model cannot be loaded.
        """
        dialogue = self._dialogues.of(self._models.sidecars(lam))
        prompts = [_induced(dialogue, prompt, settings) for prompt in _prompts(dialogue, queries)]
        hidden = [dialogue.ids(text) for text in settings.hidden if dialogue.can_write(text)]
        model = self._models.at(lam)
        found: dict[int, ShortAnswer] = {}
        for places in self._batches(model, prompts, settings.max_tokens):
            batch = [prompts[place] for place in places]
            answers = _probed(model, dialogue, batch, settings, hidden)
            if answers is None:
                raise _computes_nan(model, lam)
            found |= dict(zip(places, answers, strict=True))
        return [found[place] for place in range(len(prompts))]

    def prompt_states(
        self, queries: Sequence[Conversation], lam: Fraction, layers: Sequence[int] | None = None
    ) -> PromptStates:
        """Compute the states of the model of a λ at the end of each prompt, in float32.

        Raises:
            UsageError: The model has no such layer, or a prompt is too long for it.
            InputRefused: The chat template rejects queries.
            BackendError: The model returns no hidden states or computes NaN.
            DeviceUnfit: A batch does not fit in the device's memory.
            DamiMergeError: The model cannot be loaded.
        """
        dialogue = self._dialogues.of(self._models.sidecars(lam))
        prompts = [prompt.ids for prompt in _prompts(dialogue, queries)]
        model = self._models.at(lam)
        text: Any = model.config.get_text_config()
        count = int(text.num_hidden_layers)
        chosen = spread_layers(count) if layers is None else tuple(layers)
        if not chosen or min(chosen) < 0 or max(chosen) > count:
            raise UsageError(
                f"layers {list(chosen)} of a model with {count} layers",
                hint=f"choose from 0 (the embeddings) to {count}",
            )
        values = np.zeros((len(prompts), len(chosen), 2, int(text.hidden_size)), dtype=np.float32)
        for places in self._batches(model, prompts, 1):
            values[places] = _states(model, [prompts[place] for place in places], chosen, dialogue.pad_id)
        if not np.isfinite(values).all():
            raise _computes_nan(model, lam)
        lengths = np.array([len(prompt) for prompt in prompts], dtype=np.int64)
        return PromptStates(chosen, values, lengths)

    def _batches(
        self, model: "PreTrainedModel", prompts: Sequence[Sequence[int]], added: int
    ) -> list[list[int]]:
        """Places of the prompts, batch by batch, the longest first."""
        order = sorted(range(len(prompts)), key=lambda place: -len(prompts[place]))
        if not order:
            return []
        longest = len(prompts[order[0]]) + added
        context: Any = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        if context is not None and longest > context:
            raise UsageError(
                f"query {order[0] + 1} and the probe take up to {longest} tokens, the model {context}",
                hint="leave the query out, or use a smaller max_tokens",
            )
        size = self._batch_size or rows_that_fit(model, longest)
        return [order[start : start + size] for start in range(0, len(order), size)]


def _prompts(dialogue: Dialogue, queries: Sequence[Conversation]) -> list[Prompt]:
    turns = [tuple(Message(turn["role"], turn["content"]) for turn in query) for query in queries]
    asked = [Question(f"query {place}", turn, "") for place, turn in enumerate(turns, 1)]
    prompts = dialogue.prompts(asked)
    return [prompts[question] for question in asked]


def _induced(dialogue: Dialogue, prompt: Prompt, settings: ProbeSettings) -> tuple[int, ...]:
    """The ids of a prompt, of what closes a block that its template opened, and of the inducer."""
    added = (settings.closing if prompt.prefilled else "") + settings.inducer
    if not dialogue.can_write(added):
        raise UsageError(
            f"the model's tokenizer cannot write {added!r}, which is to precede a short answer",
            hint="use another inducer or closing; AT_ONCE has no inducer, for models that answer at once",
        )
    return (*prompt.ids, *(dialogue.ids(added) if added else ()))


def _probed(
    model: "PreTrainedModel",
    dialogue: Dialogue,
    batch: Sequence[tuple[int, ...]],
    settings: ProbeSettings,
    hidden: Sequence[tuple[int, ...]],
) -> list[ShortAnswer] | None:
    """Short answers of one batch; None if the model computes NaN."""
    recorder = Recorder()
    longest = max(map(len, batch))
    try:
        with fitting_threads(model):
            rows = continued(
                model,
                batch,
                new_tokens=settings.max_tokens,
                end_ids=dialogue.end_ids,
                pad_id=dialogue.pad_id,
                processors=[Unseen(hidden, prompt_tokens=longest), recorder],
            )
    except torch.cuda.OutOfMemoryError as error:
        raise _too_large(model, len(batch), longest) from error
    logprobs, entropies = recorder.table()
    if not np.isfinite(logprobs).all():
        return None
    answers = []
    for row, logs, spreads in zip(rows, logprobs, entropies, strict=True):
        decoded = dialogue.answer(row)
        kept = counted_tokens(decoded.tokens - (decoded.finish == "stop"), skip_first=settings.skip_first)
        answers.append(
            ShortAnswer(
                decoded.text, decoded.tokens, tuple(logs[kept].tolist()), tuple(spreads[kept].tolist())
            )
        )
    return answers


def _states(
    model: "PreTrainedModel", batch: Sequence[tuple[int, ...]], layers: Sequence[int], pad_id: int
) -> States:
    """States of one batch, shape [rows, layers, 2, width]."""
    longest = max(map(len, batch))
    device = model.device
    ids = torch.tensor([[*row, *[pad_id] * (longest - len(row))] for row in batch], device=device)
    lengths = torch.tensor([len(row) for row in batch], device=device)
    mask = torch.arange(longest, device=device) < lengths[:, None]
    body: Any = model.base_model
    try:
        with fitting_threads(model), torch.inference_mode():
            done = body(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True, use_cache=False)
            hidden: Any = getattr(done, "hidden_states", None)
            if hidden is None:
                raise BackendError(
                    f"{type(model).__name__} returns no hidden states", hint="use the features `conf`"
                )
            stacked = torch.stack([hidden[layer].float() for layer in layers], dim=1)
            shares = (mask / lengths[:, None])[:, None, :, None]
            mean = (stacked * shares).sum(dim=2)
            last = stacked[torch.arange(len(batch), device=device), :, lengths - 1]
            found: States = torch.stack([mean, last], dim=2).cpu().numpy()
    except torch.cuda.OutOfMemoryError as error:
        raise _too_large(model, len(batch), longest) from error
    return found


def _too_large(model: "PreTrainedModel", rows: int, tokens: int) -> DeviceUnfit:
    return DeviceUnfit(
        f"{rows} prompts of {tokens} tokens do not fit on {model.device}", hint="use a smaller batch size"
    )


def _computes_nan(model: "PreTrainedModel", lam: Fraction) -> BackendError:
    return BackendError(
        f"the model of λ = {label(lam)} computes NaN in {model.dtype}",
        hint="try a wider dtype; `dami-merge verify` shows whether the checkpoint is damaged",
    )
