"""What a sweep asks of whatever runs a model: a Protocol, and the values that cross it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol

from dami_merge.evaluation.questions.question import Question

Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How answers are sampled.

    Attributes:
        temperature: 0 is greedy; then top_p and top_k have no effect.
        top_p: Of nucleus sampling, in (0, 1].
        top_k: 0 is off.
        max_tokens: Cap of generated tokens of one answer; an answer that reaches it is cut.
        seed: Of everything random.
        samples: Answers for each question and λ (K).
    """

    temperature: float = 0.6
    top_p: float = 0.95
    top_k: int = 20
    max_tokens: int = 81920
    seed: int = 0
    samples: int = 4

    def changed(
        self,
        *,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        max_tokens: int | None = None,
        seed: int | None = None,
        samples: int | None = None,
    ) -> "SamplingSettings":
        """These with what is given in place of their own; None keeps it."""
        return SamplingSettings(
            temperature=self.temperature if temperature is None else temperature,
            top_p=self.top_p if top_p is None else top_p,
            top_k=self.top_k if top_k is None else top_k,
            max_tokens=self.max_tokens if max_tokens is None else max_tokens,
            seed=self.seed if seed is None else seed,
            samples=self.samples if samples is None else samples,
        )


@dataclass(frozen=True, slots=True)
class Request:
    """One answer that is wanted: sample number `sample` of a question."""

    question: Question
    sample: int


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer.

    Attributes:
        text: All generated text, the thinking block with its tags included, special end tokens not.
        tokens: Generated tokens, the end token included.
        finish: `length` if the cap cut it.
        seconds: Wall time of the request, or its share of a batch's.
        prefilled: The prompt ended inside an open `<think>` block, as many templates of thinking models have
            it: the text then begins within the block, and only closes it.
    """

    text: str
    tokens: int
    finish: Finish
    seconds: float
    prefilled: bool = False


class Backend(Protocol):
    """Runs the model of a λ."""

    def generate(
        self, lam: Fraction, requests: Sequence[Request], sampling: SamplingSettings
    ) -> Iterator[tuple[Request, Generation]]:
        """Answer every request once, in any order, each as soon as it is done.

        A request's result depends on its question, λ, sample number and the settings, not on which other
        requests stand beside it (up to the rounding of a batch).

        Raises:
            DamiMergeError: The model of this λ cannot be had, or does not answer.
        """
        ...

    def describe(self) -> dict[str, str]:
        """What must be equal for two runs to be one: kind of backend, model names or digests."""
        ...
