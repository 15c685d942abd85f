"""Ask a model before it answers: how sure it is of a short answer, and what state the prompt leaves it in.

The interface between features and what runs the models; knows neither torch nor servers. That a short answer
without reasoning is asked for and that its token probabilities are its confidence is from the paper; the
inducer, the 20 tokens and the skipped first token are those of DEER; the rest is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from dami_merge.estimators.examples import Places
from dami_merge.estimators.fitted import Conversation

DEER_INDUCER = "\n**Final Answer**\n\\boxed"
"""What makes a model of mathematics answer at once; the first token that follows is a brace."""

NAMED_TOKENS = 16
"""Likeliest tokens that an entropy tells apart; all others count as one, since servers name 20 at most."""

Aggregate = Literal["geometric", "arithmetic", "min"]
"""How the probabilities of an answer's tokens become one confidence."""

States = NDArray[np.float32]


class ProbeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a short answer is asked for. Decoding is greedy.

    Attributes:
        inducer: Text after the start of the assistant's turn, which the model continues.
        max_tokens: Most generated tokens.
        skip_first: Do not count the first generated token, unless the answer has no other.
        hidden: Texts that may not be generated, so that a model answers without reasoning.
        closing: Text that closes a `<think>` block which the chat template opens; before the inducer.
        aggregate: How probabilities become one confidence; the geometric mean suits over-confident models.
    """

    inducer: str = DEER_INDUCER
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 20
    skip_first: bool = True
    hidden: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...] = ("<think>",)
    closing: str = "\n</think>\n\n"
    aggregate: Aggregate = "geometric"


AT_ONCE = ProbeSettings(inducer="", skip_first=False)
"""For models that answer at once and in few tokens, such as the bundled pair."""


@dataclass(frozen=True, slots=True)
class ShortAnswer:
    """A short answer and how sure the model was of it.

    Attributes:
        text: The answer, without end tokens.
        tokens: Generated tokens, including the end token: what the probe cost.
        logprobs: Natural logarithms of the probabilities of the counted tokens; empty for an empty answer.
        entropies: Entropy at each counted token, in nats, of the `NAMED_TOKENS` likeliest tokens and of all
            others as one.
    """

    text: str
    tokens: int
    logprobs: tuple[float, ...]
    entropies: tuple[float, ...]

    def confidence(self, aggregate: Aggregate = "geometric") -> float:
        """Confidence in [0, 1] from the probabilities of the counted tokens; 0 for an empty answer.

        Example:
            >>> ShortAnswer("42", 3, (-0.25, -0.75), (0.5, 0.9)).confidence()
            0.6065306597126334
        """
        if not self.logprobs:
            return 0.0
        logs = np.array(self.logprobs)
        if aggregate == "geometric":
            return float(np.exp(logs.mean()))
        shares = np.exp(logs)
        return float(shares.mean() if aggregate == "arithmetic" else shares.min())

    def certainty(self) -> float:
        """exp(-mean entropy) in [0, 1]: 1 where no other token had a chance; 0 for an empty answer."""
        return float(np.exp(-np.mean(self.entropies))) if self.entropies else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class PromptStates:
    """What a model's layers hold after the prompt, before any token is generated.

    Attributes:
        layers: Numbers of the layers; 0 is the embeddings.
        values: Shape [n, layers, 2, width]: the mean over the prompt's tokens, and the last token.
        tokens: Tokens of each prompt, which were computed but not generated, shape [n].
    """

    layers: tuple[int, ...]
    values: States
    tokens: Places


class Prober(Protocol):
    """Asks the models of a pair."""

    def short_answers(
        self, queries: Sequence[Conversation], lam: Fraction, settings: ProbeSettings
    ) -> list[ShortAnswer]:
        """Let the model of a λ answer each query at once.

        Raises:
            DamiMergeError: The model is unavailable, or does not say how probable its tokens were.
        """
        ...

    def prompt_states(
        self, queries: Sequence[Conversation], lam: Fraction, layers: Sequence[int] | None = None
    ) -> PromptStates:
        """Compute the states of the model of a λ at the end of each prompt.

        Args:
            queries: The prompts.
            lam: λ of the model.
            layers: Numbers of the layers, 0 for the embeddings; None means `spread_layers`.

        Raises:
            DamiMergeError: The model is unavailable or hides its states.
        """
        ...

    def suited(self) -> ProbeSettings:
        """Return the default settings, or `AT_ONCE` for models that cannot read the default inducer."""
        ...

    def describe(self) -> dict[str, str]:
        """Return what must be equal between two probes that are compared: weights and how they run."""
        ...


def weights_of(prober: Prober) -> str:
    """The digest of the weights that a prober runs; empty if it does not know them, as some servers."""
    return prober.describe().get("weights", "")


def counted_tokens(generated: int, *, skip_first: bool) -> slice:
    """Select the tokens of an answer that count: without the first, unless it is the only one.

    Args:
        generated: Number of tokens without the end token.
        skip_first: As in `ProbeSettings`.
    """
    return slice(1 if skip_first and generated > 1 else 0, generated)


MOST_LAYERS = 8
"""Layers whose states are taken by default."""


def spread_layers(count: int) -> tuple[int, ...]:
    """Choose layers evenly between the embeddings and the last layer, which is one of them.

    Args:
        count: Number of layers of the model, without the embeddings.

    Example:
        >>> spread_layers(36)
        (4, 9, 13, 18, 22, 27, 31, 36)
    """
    if count <= MOST_LAYERS:
        return tuple(range(1, count + 1))
    return tuple(count * place // MOST_LAYERS for place in range(1, MOST_LAYERS + 1))
