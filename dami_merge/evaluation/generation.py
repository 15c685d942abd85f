"""The interface between a sweep and what runs its models: the protocol `Backend` and the values it uses."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol

from dami_merge.evaluation.questions.question import Question
from dami_merge.sampling import SamplingSettings

Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Request:
    """One requested answer.

    Attributes:
        question: Question to ask.
        lam: λ of the model that answers.
        sample: Number of the answer, from 0 to K - 1.
    """

    question: Question
    lam: Fraction
    sample: int


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer.

    Attributes:
        text: All generated text, including the thinking block with its tags, but without end tokens.
        tokens: Number of generated tokens, including the end token.
        finish: `length` if the answer was truncated at the cap, else `stop`.
        seconds: Wall time of the request, or its share of a batch's.
        prefilled: Whether the prompt ended inside an open `<think>` block, as with many templates of thinking
            models: the text then begins inside the block and only closes it.
    """

    text: str
    tokens: int
    finish: Finish
    seconds: float
    prefilled: bool = False


class Backend(Protocol):
    """Runs the models of a pair."""

    def generate(
        self, requests: Sequence[Request], sampling: SamplingSettings
    ) -> Iterator[tuple[Request, Generation]]:
        """Answer every request once, in any order, each as soon as it is done.

        Requests of several λ may come in one call. A backend that runs one λ at a time takes them in the
        order of `by_lambda`. An answer depends on its question, λ, sample number and the settings, but not on
        the other requests of the call, except for the rounding of a batch.

        Raises:
            DamiMergeError: The model of a λ is unavailable or does not answer.
        """
        ...

    def describe(self) -> dict[str, str]:
        """Return what two runs must share to use one file: kind of backend, model names or digests."""
        ...


def all_requests(
    questions: Sequence[Question], lambdas: Sequence[Fraction], samples: int
) -> tuple[Request, ...]:
    """Request every question `samples` times at every λ: λ by λ, in the given order."""
    return tuple(
        Request(question, lam, k) for lam in lambdas for question in questions for k in range(samples)
    )


def by_lambda(requests: Iterable[Request]) -> dict[Fraction, list[Request]]:
    """Group requests by λ, in the order in which each λ first appears."""
    groups: dict[Fraction, list[Request]] = {}
    for request in requests:
        groups.setdefault(request.lam, []).append(request)
    return groups
