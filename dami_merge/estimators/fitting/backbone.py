"""Fine-tune a classifier of transformers to say a utility for every λ: DAMI-Pref with a network that reads.

One output per λ, and the Bradley-Terry loss on pairs of λ, accuracy first, tokens second: from the paper.
Its backbone, its size and its schedule are not known; early stopping on the pair loss of held-out queries,
and LoRA, are ours. What is saved is a plain folder: `AutoModelForSequenceClassification.from_pretrained`
loads it, and its labels are the λ.
"""

import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import torch

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.errors import InputRefused, OutputRefused, Problem
from dami_merge.estimators.examples import Examples, Numbers, Places
from dami_merge.estimators.features.text import prompt_text
from dami_merge.estimators.fitting.linear import minimise
from dami_merge.estimators.fitting.prefs import pair_loss
from dami_merge.estimators.pairs import PairOptions, preferences
from dami_merge.estimators.pretrained import (
    PromptReader,
    load_new_classifier,
    load_tokenizer,
    quiet_transformers,
    tokens_read,
)
from dami_merge.files import publish_folder, writing_is_clear
from dami_merge.lambdas import label
from dami_merge.optional import needed
from dami_merge.tensors.device import choose_device
from dami_merge.tensors.threads import fitting_threads

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

RATE = 5e-5
"""Learning rate if all weights are trained; tenfold with LoRA, whose weights are few and new."""

_WARM_UP = 0.1
_LARGEST_GRADIENT = 1.0
_WEIGHT_DECAY = 0.01


class BackboneOptions(PairOptions, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a backbone is fine-tuned, beside how its pairs are made.

    Attributes:
        epochs: Most passes over the queries.
        patience: Passes without a lower loss on held-out queries, after which it stops.
        held_out: Share of the queries that early stopping holds out.
        batch: Queries in one step.
        rate: Learning rate; 0 means `RATE`, tenfold with LoRA.
        lora: Rank of LoRA; 0 trains all weights.
    """

    epochs: Annotated[int, msgspec.Meta(ge=1)] = 4
    patience: Annotated[int, msgspec.Meta(ge=1)] = 2
    held_out: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2
    batch: Annotated[int, msgspec.Meta(ge=1)] = 16
    rate: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    lora: Annotated[int, msgspec.Meta(ge=0)] = 0


@dataclass(frozen=True, slots=True)
class BackboneFit:
    """What fine-tuning did.

    Attributes:
        folder: The saved model.
        losses: Mean loss of a held-out pair before training and after each pass, in nats.
        chosen: The pass that was saved, a place in `losses`.
        unread: Held-out loss of the best utilities that are the same for every query; a backbone that does
            not go below it has learned nothing about queries.
    """

    folder: Path
    losses: tuple[float, ...]
    chosen: int
    unread: float


def fit_backbone(
    examples: Examples,
    source: Checkpoint,
    output: Path,
    options: BackboneOptions,
    seed: int,
    *,
    device: str = "auto",
    progress: Callable[[int, float], None] | None = None,
) -> BackboneFit:
    """Fine-tune a backbone and save it.

    Args:
        examples: Measured queries.
        source: The model to start from, as `pretrained.open_encoder_source` opens it.
        output: Folder to make; it must not exist.
        options: Options.
        seed: Seed of the split by query, the new head, the order of queries and dropout.
        device: `auto`, `cpu`, `cuda`.
        progress: Called after each pass with its number and the held-out loss.

    Raises:
        InputRefused: There are too few queries to hold some out, the rule leaves no pair, or the model cannot
            be loaded as a classifier.
        OutputRefused: `output` exists or cannot be written.
        DamiMergeError: transformers, or peft for LoRA, is not installed.

    Peak memory: four times the weights in float32 if all are trained.
    """
    if output.exists():
        raise OutputRefused(f"{output} exists already", hint="choose another folder")
    pairs, _ = preferences(examples, _pair_options(options))
    kept, out = _split(len(examples), options.held_out, seed)
    tokenizer, place = load_tokenizer(source), choose_device(device)
    texts = [
        prompt_text([{"content": turn.content} for turn in each.messages]) for each in examples.questions
    ]
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        model: Any = load_new_classifier(source, [label(lam) for lam in examples.lambdas])
        model.config.pad_token_id = tokenizer.pad_token_id
        model = _with_lora(model, options.lora) if options.lora else model
        reader = PromptReader(model.to(place), tokenizer, tokens_read(source, tokenizer))
        with fitting_threads(reader.model):
            losses, chosen = _train(reader, texts, pairs, (kept, out), options, seed, progress)
    merged = model.merge_and_unload() if options.lora else model
    _save(merged.to("cpu"), tokenizer, output)
    return BackboneFit(output, losses, chosen, _unread(pairs, kept, out))


def _pair_options(options: PairOptions) -> PairOptions:
    return PairOptions(**{name: getattr(options, name) for name in PairOptions.__struct_fields__})


def _split(count: int, share: float, seed: int) -> tuple[Places, Places]:
    """Places of the queries to train on and of those that are held out."""
    held = max(1, round(count * share))
    if count - held < 1:
        fact = f"{count} queries are too few to hold {share:.0%} of them out"
        raise InputRefused([Problem("too-few", fact, "measure more queries")])
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])


def _with_lora(model: "PreTrainedModel", rank: int) -> "PreTrainedModel":
    """Freeze the model but for its head, and add LoRA to every other linear layer."""
    peft = needed("peft", "LoRA", extra="lora")
    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for a name that will go
        wrapped: PreTrainedModel = peft.get_peft_model(model, config)
    return wrapped


def _train(
    reader: PromptReader,
    texts: Sequence[str],
    pairs: Numbers,
    parts: tuple[Places, Places],
    options: BackboneOptions,
    seed: int,
    progress: Callable[[int, float], None] | None,
) -> tuple[tuple[float, ...], int]:
    """Train until the held-out loss no longer falls; the model ends with the best pass's weights."""
    kept, out = parts
    held = [texts[place] for place in out.tolist()]
    total = max(float(pairs[out].sum()), 1e-12)
    trained = [weight for weight in reader.model.parameters() if weight.requires_grad]
    steps = options.epochs * -(-len(kept) // options.batch)
    rate = options.rate or (10 * RATE if options.lora else RATE)
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share_of_rate(step, steps))
    rng = np.random.default_rng(seed)
    losses = [pair_loss(reader.utilities(held), pairs[out]) / total]
    best = [weight.detach().clone() for weight in trained]
    for epoch in range(1, options.epochs + 1):
        order = rng.permutation(kept)
        for start in range(0, len(order), options.batch):
            _step(reader, texts, pairs, order[start : start + options.batch], optimizer, trained)
            schedule.step()
        losses.append(pair_loss(reader.utilities(held), pairs[out]) / total)
        if progress is not None:
            progress(epoch, losses[-1])
        if losses[-1] <= min(losses):
            best = [weight.detach().clone() for weight in trained]
        elif epoch - int(np.argmin(losses)) >= options.patience:
            break
    with torch.no_grad():
        for weight, value in zip(trained, best, strict=True):
            weight.copy_(value)
    return tuple(losses), len(losses) - 1 - int(np.argmin(losses[::-1]))


def _step(
    reader: PromptReader,
    texts: Sequence[str],
    pairs: Numbers,
    places: Places,
    optimizer: torch.optim.Optimizer,
    trained: Sequence[torch.Tensor],
) -> None:
    """One step on some queries: the mean loss of their pairs, both directions of a pair as one term."""
    reader.model.train()
    weights = torch.from_numpy(pairs[places]).to(reader.model.device, torch.float32)
    ((own, utility),) = reader.outputs([texts[place] for place in places.tolist()], at_once=len(places))
    gaps = utility[:, :, None] - utility[:, None, :]
    loss = (weights[own] * torch.nn.functional.softplus(-gaps)).sum() / weights.sum().clamp(min=1e-12)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(trained, _LARGEST_GRADIENT)
    optimizer.step()


def _share_of_rate(step: int, steps: int) -> float:
    """Linear warm-up, then linear decay to zero."""
    warm = max(1, round(_WARM_UP * steps))
    return min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))


def _unread(pairs: Numbers, kept: Places, out: Places) -> float:
    """Held-out loss of utilities that are the same for every query, fitted to the training pairs."""
    shares = pairs[kept].sum(axis=0)
    whole = torch.from_numpy(shares / max(shares.sum(), 1e-12))

    def loss(utility: torch.Tensor) -> torch.Tensor:
        gaps = utility[..., :, None] - utility[..., None, :]
        return (whole * torch.nn.functional.softplus(-gaps)).sum(dim=-1) + 1e-6 * utility.square()

    nothing = np.zeros((1, 0))
    same = minimise(loss, nothing, np.ones((1, 1)), pairs.shape[1], ridge=0.0, smooth=0.0).bias
    return pair_loss(np.repeat(same, len(out), axis=0), pairs[out]) / max(float(pairs[out].sum()), 1e-12)


def _save(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", output: Path) -> None:
    """Save model and tokenizer; the folder gets its name once its files are durable."""
    partial = output.with_name(f".{output.name}.partial")
    with writing_is_clear(output.parent):
        output.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        with quiet_transformers():
            model.save_pretrained(partial)
            tokenizer.save_pretrained(partial)
        for path in sorted(partial.iterdir()):
            _sync(path)
        publish_folder(partial, output)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
