"""What the path between two models does to their predictions: loss at every λ, and how far each step goes.

One live model walks from λ = 0 to λ = 1; no checkpoint is written. The loss is the mean negative
log-likelihood of a token, in nats. The barrier is told by both definitions: Frankle et al. (arXiv 1912.05671)
take sup E(λ) - mean(E(0), E(1)), which is above zero on a perfectly straight path between unequal ends, so
the height above the straight line between the ends stands beside it (ours). Continuity of the hidden states,
layer by layer between neighbouring λ, is ours too: the paper names no metric.
"""

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.source import fetched
from dami_merge.connectivity.encoding import batches, encode_text, padded
from dami_merge.connectivity.texts import Text
from dami_merge.errors import InputRefused, Problem
from dami_merge.live import LiveModel, load_live

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SAMPLED_TOKENS = 512
"""Positions whose hidden states are compared at most, evenly spread over all texts."""

BARRIER = 0.1
"""Nats above the straight line from which two models count as of different basins. Source: ours; the bundled
pair has 0.0, the same model with its neurons in another order 1.8."""

ABRUPT = 4.0
"""Medians that a single step may take before the path counts as abrupt. Source: ours."""

_SMALLEST_STEP = 1e-6


@dataclass(frozen=True, slots=True)
class PathPoint:
    """One λ.

    Attributes:
        lam: Which.
        loss: Mean negative log-likelihood of a scored token, nats.
    """

    lam: Fraction
    loss: float


@dataclass(frozen=True, slots=True)
class PathStep:
    """From one λ to the next.

    Attributes:
        start: λ before.
        stop: λ after.
        cosine: For each layer, the embeddings first: mean cosine of a position's two hidden states.
        cka: Likewise linear CKA (Kornblith et al., arXiv 1905.00414), which no rotation changes.
    """

    start: Fraction
    stop: Fraction
    cosine: tuple[float, ...]
    cka: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PathReport:
    """What was seen on the way.

    Attributes:
        texts: Number of texts.
        tokens: Scored tokens, of all texts together.
        points: One for each λ, ascending.
        steps: One between any two neighbours.
        barrier: max E(λ) - mean(E(0), E(1)), nats.
        barrier_above_line: max over λ of E(λ) - ((1-λ)·E(0) + λ·E(1)), nats; 0 or less on a path that never
            rises above the straight line.
        barrier_lam: Where that is.
    """

    texts: int
    tokens: int
    points: tuple[PathPoint, ...]
    steps: tuple[PathStep, ...]
    barrier: float
    barrier_above_line: float
    barrier_lam: Fraction

    @property
    def same_basin(self) -> bool:
        """Whether the loss never rises far above the straight line between the ends (`BARRIER`)."""
        return self.barrier_above_line <= BARRIER

    @property
    def abruptness(self) -> float:
        """Largest step of the hidden states in medians of all; a step is 1 - cosine in its worst layer.

        1 where all steps are alike, or too small to be told from rounding.
        """
        sizes = [1 - min(step.cosine) for step in self.steps]
        usual = max(statistics.median(sizes), _SMALLEST_STEP)
        return max(*sizes, usual) / usual

    @property
    def smooth(self) -> bool:
        """Whether no step of the hidden states is far larger than the others (`ABRUPT`)."""
        return self.abruptness <= ABRUPT

    @property
    def monotone(self) -> bool:
        """Whether the loss goes one way only."""
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
    max_tokens: int = 1024,
    on_point: Callable[[int, int], None] = lambda _, __: None,
) -> PathReport:
    """Measure the path.

    Args:
        model: What computes; `live` writes its parameters. It is left at the last λ.
        live: From `load_live`, together with the model.
        tokenizer: With a chat template if a text has a prompt.
        texts: At least one.
        lambdas: Ascending from 0 to 1, both included.
        max_tokens: Longer texts are cut.
        on_point: Told how many λ are done, of how many.

    Raises:
        InputRefused: λ does not run from 0 to 1, a prompt has no template, or nothing is left to score.

    Peak memory: logits of 1024 tokens, about three times in float32 (2 GB for a vocabulary of 150,000), and
    two times the hidden states of 512 tokens.
    """
    if list(lambdas) != sorted(set(lambdas)) or not lambdas or lambdas[0] != 0 or lambdas[-1] != 1:
        raise _refused("a path has both ends: give λ from 0 to 1, ascending")
    encoded = [encode_text(tokenizer, text, max_tokens) for text in texts]
    scored = sum(len(ids) - first for ids, first in encoded)
    if not scored:
        raise _refused("the texts hold no token to score", "a text needs two tokens at least")
    points: list[PathPoint] = []
    steps: list[PathStep] = []
    before: list[Tensor] = []
    for number, lam in enumerate(lambdas, 1):
        live.set_lambda(lam)
        loss, states = _measured(model, encoded)
        if before:
            compared = [_alike(*layers) for layers in zip(before, states, strict=True)]
            steps.append(PathStep(points[-1].lam, lam, *zip(*compared, strict=True)))
        points.append(PathPoint(lam, loss / scored))
        before = states
        on_point(number, len(lambdas))
    first, last = points[0].loss, points[-1].loss
    above = [(p.loss - float(1 - p.lam) * first - float(p.lam) * last, p.lam) for p in points]
    highest, where = max(above, key=lambda pair: pair[0])
    return PathReport(
        texts=len(texts),
        tokens=scored,
        points=tuple(points),
        steps=tuple(steps),
        barrier=max(point.loss for point in points) - (first + last) / 2,
        barrier_above_line=highest,
        barrier_lam=where,
    )


def walk_pair(
    instruct: Checkpoint,
    thinking: Checkpoint,
    texts: Sequence[Text],
    lambdas: Sequence[Fraction],
    *,
    device: str = "auto",
    on_point: Callable[[int, int], None] = lambda _, __: None,
) -> PathReport:
    """Load a pair with its Thinking side's tokenizer, and `walk`.

    Args:
        instruct: λ = 0.
        thinking: λ = 1; the tokenizer is taken from it.
        texts: At least one.
        lambdas: Ascending from 0 to 1.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        on_point: Told how many λ are done, of how many.

    Raises:
        DamiMergeError: What `load_live` and `walk` raise.

    Peak memory: three models on the device, and what `walk` needs.
    """
    sides = fetched(instruct), fetched(thinking)
    model, live = load_live(*sides, device=device)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(sides[1].root)
    return walk(model, live, tokenizer, texts, lambdas, on_point=on_point)


def linear_cka(left: Tensor, right: Tensor) -> float:
    """Linear centred kernel alignment of two sets of states of the same positions.

    Args:
        left: Shape [n, d], any float dtype.
        right: Shape [n, e].

    Returns:
        In [0, 1]; 1 where both sets do not vary, 0 where one does not.
    """
    left, right = (side.double() - side.double().mean(dim=0) for side in (left, right))
    own = [float(torch.linalg.matrix_norm(side @ side.T)) for side in (left, right)]
    if min(own) == 0:
        return 1.0 if max(own) == 0 else 0.0
    shared = float(((left @ left.T) * (right @ right.T)).sum())
    return max(0.0, min(1.0, shared / (own[0] * own[1])))


def _measured(
    model: "PreTrainedModel", encoded: Sequence[tuple[list[int], int]]
) -> tuple[float, list[Tensor]]:
    """Summed loss of the scored tokens, and for each layer the sampled hidden states, shape [m, d]."""
    total = sum(len(ids) for ids, _ in encoded)
    stride = -(-total // SAMPLED_TOKENS)
    loss, seen = 0.0, 0
    kept: list[list[Tensor]] = []
    with torch.inference_mode():
        for batch in batches(encoded):
            ids, mask, scored = padded(batch, model.device)
            out: Any = model(input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False)
            logits = out.logits[:, :-1].float()
            each = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
            loss += float((each.cpu().double() * scored[:, 1:].cpu()).sum())  # mps has no float64
            tokens = mask.flatten().nonzero()[:, 0]
            places = tokens[-seen % stride :: stride]
            seen += len(tokens)
            kept.append([states.flatten(0, 1)[places].float().cpu() for states in out.hidden_states])
    return loss, [torch.cat(layer) for layer in zip(*kept, strict=True)]


def _alike(before: Tensor, after: Tensor) -> tuple[float, float]:
    cosine = functional.cosine_similarity(before.double(), after.double(), dim=1).mean()
    return float(cosine), linear_cka(before, after)


def _refused(message: str, hint: str = "") -> InputRefused:
    return InputRefused([Problem("path", message, hint)])
