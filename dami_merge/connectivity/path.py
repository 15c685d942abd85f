"""Predictions along the path between two models: the loss at every λ, the size of every step, first tokens.

One live model walks from λ = 0 to λ = 1; no checkpoint is written. The loss is the mean negative
log-likelihood per token, in nats. The barrier is reported by two definitions: Frankle et al. (arXiv
1912.05671) use sup E(λ) - mean(E(0), E(1)), which is above zero even on a perfectly straight path between
unequal ends; the height above the straight line between the ends is ours. The continuity of the hidden
states, layer by layer between neighbouring λ, is ours too: the paper names no metric.
"""

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.source import fetched
from dami_merge.connectivity.beginnings import Beginnings
from dami_merge.connectivity.dial import Dial
from dami_merge.connectivity.encoding import encode_texts
from dami_merge.connectivity.predictions import alike, measured
from dami_merge.connectivity.texts import DEFAULTS, PathSettings, Text
from dami_merge.errors import InputRefused, Problem
from dami_merge.live import LiveModel, load_live
from dami_merge.tensors.threads import fitting_threads

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BARRIER = 0.1
"""Maximum height above the straight line, in nats, for two models to count as in one basin. Source: ours; the
bundled pair has 0.0, a model and its copy with the neurons in another order have 1.8."""

ABRUPT = 4.0
"""Maximum size of a single step, in medians of all steps, on a smooth path. Source: ours."""

_SMALLEST_STEP = 1e-6


@dataclass(frozen=True, slots=True)
class PathPoint:
    """The loss at one λ.

    Attributes:
        lam: λ of the model.
        loss: Mean negative log-likelihood per scored token, in nats.
    """

    lam: Fraction
    loss: float


@dataclass(frozen=True, slots=True)
class PathStep:
    """The step from one λ to the next.

    Attributes:
        start: λ before the step.
        stop: λ after the step.
        cosine: Mean cosine of a position's two hidden states, for each layer, embeddings first.
        cka: Linear CKA of the hidden states (Kornblith et al., arXiv 1905.00414), which no rotation changes,
            for each layer, embeddings first.
    """

    start: Fraction
    stop: Fraction
    cosine: tuple[float, ...]
    cka: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PathReport:
    """The measurements along the path.

    Attributes:
        texts: Number of texts.
        tokens: Number of scored tokens in all texts.
        points: One point per λ, ascending.
        steps: One step between any two neighbouring λ.
        barrier: max E(λ) - mean(E(0), E(1)), in nats.
        barrier_above_line: max over λ of E(λ) - ((1-λ)·E(0) + λ·E(1)), in nats; 0 or less on a path that
            never rises above the straight line.
        barrier_lam: λ at which `barrier_above_line` is reached.
        dial: What the model begins to write at every λ; None if no text has a prompt.
    """

    texts: int
    tokens: int
    points: tuple[PathPoint, ...]
    steps: tuple[PathStep, ...]
    barrier: float
    barrier_above_line: float
    barrier_lam: Fraction
    dial: Dial | None = None

    @property
    def same_basin(self) -> bool:
        """Whether the loss never rises far above the straight line between the ends (`BARRIER`)."""
        return self.barrier_above_line <= BARRIER

    @property
    def abruptness(self) -> float:
        """Largest step of the hidden states in medians of all steps; a step is 1 - cosine in its worst layer.

        1 if all steps are equal, or too small to be distinguished from rounding.
        """
        sizes = [1 - min(step.cosine) for step in self.steps]
        usual = max(statistics.median(sizes), _SMALLEST_STEP)
        return max(*sizes, usual) / usual

    @property
    def smooth(self) -> bool:
        """Whether no step of the hidden states is far larger than the others (`ABRUPT`)."""
        return self.abruptness <= ABRUPT

    @property
    def passes(self) -> bool:
        """Whether nothing on the path speaks against interpolation: one basin, smooth, and no switch."""
        return self.same_basin and self.smooth and (self.dial is None or self.dial.kind != "switch")

    @property
    def monotone(self) -> bool:
        """Whether the loss only rises, or only falls."""
        losses = [point.loss for point in self.points]
        pairs = list(itertools.pairwise(losses))
        return all(a <= b for a, b in pairs) or all(a >= b for a, b in pairs)


def walk(
    model: "PreTrainedModel",
    live: LiveModel,
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[Text],
    lambdas: Sequence[Fraction],
    *,
    settings: PathSettings = DEFAULTS,
    on_point: Callable[[int, int], None] = lambda _, __: None,
) -> PathReport:
    """Measure the loss and the hidden states along the path.

    Args:
        model: Model whose parameters `live` writes; it is left at some λ.
        live: The live model that `load_live` returned together with the model.
        tokenizer: Tokenizer of the model; it needs a chat template if a text has a prompt.
        texts: At least one text.
        lambdas: The λ to measure, ascending from 0 to 1, both included.
        settings: Lengths, and the temperature of the first tokens.
        on_point: Called with the number of λ measured so far and their total.

    Raises:
        InputRefused: The λ do not run from 0 to 1, a text has a prompt but the tokenizer has no chat
            template, or no text has a token to score.

    Peak memory: about three float32 copies of the logits of 1024 tokens (2 GB for a vocabulary of 150,000),
    and two copies of the hidden states of 512 tokens, and two float32 vectors as long as the vocabulary
    for each of 64 prompts.
    """
    if list(lambdas) != sorted(set(lambdas)) or not lambdas or lambdas[0] != 0 or lambdas[-1] != 1:
        raise _refused("the λ of a path must ascend from 0 to 1, both included")
    encoded = encode_texts(tokenizer, texts, settings.max_tokens)
    scored = sum(len(ids) - first for ids, first in encoded)
    if not scored:
        raise _refused("the texts contain no token to score", "a text needs at least two tokens")
    beginnings = Beginnings(model, live, tokenizer, texts, settings)
    points: list[PathPoint] = []
    steps: list[PathStep] = []
    before: list[Tensor] = []
    for number, lam in enumerate(lambdas, 1):
        live.set_lambda(lam)
        loss, states = measured(model, encoded)
        if before:
            compared = [alike(*layers) for layers in zip(before, states, strict=True)]
            steps.append(PathStep(points[-1].lam, lam, *zip(*compared, strict=True)))
        points.append(PathPoint(lam, loss / scored))
        before = states
        beginnings.measure(lam)
        on_point(number, len(lambdas))
    return _report(len(texts), scored, points, steps, beginnings.result())


def _report(
    texts: int, tokens: int, points: Sequence[PathPoint], steps: Sequence[PathStep], dial: Dial | None
) -> PathReport:
    first, last = points[0].loss, points[-1].loss
    above = [(p.loss - float(1 - p.lam) * first - float(p.lam) * last, p.lam) for p in points]
    highest, where = max(above, key=lambda pair: pair[0])
    return PathReport(
        texts=texts,
        tokens=tokens,
        points=tuple(points),
        steps=tuple(steps),
        barrier=max(point.loss for point in points) - (first + last) / 2,
        barrier_above_line=highest,
        barrier_lam=where,
        dial=dial,
    )


def walk_pair(
    instruct: Checkpoint,
    thinking: Checkpoint,
    texts: Sequence[Text],
    lambdas: Sequence[Fraction],
    *,
    device: str = "auto",
    written_tokens: int = 0,
    on_point: Callable[[int, int], None] = lambda _, __: None,
) -> PathReport:
    """Load a pair with the tokenizer of Thinking, and `walk` the path.

    Args:
        instruct: Model at λ = 0.
        thinking: Model at λ = 1, which also provides the tokenizer.
        texts: At least one text.
        lambdas: The λ to measure, ascending from 0 to 1.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        written_tokens: Length of the greedy answers to write at every λ; 0 writes none.
        on_point: Called with the number of λ measured so far and their total.

    Raises:
        DamiMergeError: Any error that `load_live` or `walk` raises.

    Peak memory: three models on the device, plus the peak memory of `walk`.
    """
    sides = fetched(instruct), fetched(thinking)
    model, live = load_live(*sides, device=device)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(sides[1].root)
    with fitting_threads(model):
        return walk(
            model,
            live,
            tokenizer,
            texts,
            lambdas,
            settings=PathSettings(temperature=_temperature(model), written_tokens=written_tokens),
            on_point=on_point,
        )


def _temperature(model: "PreTrainedModel") -> float:
    """Return the temperature that Thinking's generation config recommends; 1 if it recommends none."""
    config: Any = model.generation_config
    recommended = config is not None and config.do_sample and config.temperature
    return float(recommended or 1.0)


def _refused(message: str, hint: str = "") -> InputRefused:
    return InputRefused([Problem("path", message, hint)])
