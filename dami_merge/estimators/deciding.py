"""A trained estimator with its features at hand: from queries to λ, with every reason."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from dami_merge.errors import EstimatorError, LambdaError
from dami_merge.estimators.artefact import Trained, check_features, load_estimator
from dami_merge.estimators.estimate import Estimate
from dami_merge.estimators.features.opening import reopened
from dami_merge.estimators.fitted import Conversation, Features, Inputs
from dami_merge.estimators.goal import Goal, Setting, policy_of, resolve
from dami_merge.estimators.policy import Choices, Policy, choose, within_budget
from dami_merge.estimators.probing import Prober
from dami_merge.evaluation.questions.question import Question

AnyQuery = str | Sequence[Mapping[str, object]]
"""A prompt, or a conversation as OpenAI `messages`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision.

    Attributes:
        lam: Chosen λ.
        spent: Tokens that the features of the query cost.
        held: Whether the guard kept the static λ although another had a higher utility.
        novel: Whether the query is unlike those that the estimator was fitted on.
    """

    lam: Fraction
    spent: float
    held: bool
    novel: bool


@dataclass(frozen=True, slots=True, eq=False)
class Explained:
    """All that led to the decisions of n queries.

    Attributes:
        decisions: One for each query.
        estimate: What the estimator said.
        choices: What the policy made of it.
        policy: Price and guard.
        setting: How the goal is met on the measured queries.
    """

    decisions: tuple[Decision, ...]
    estimate: Estimate
    choices: Choices
    policy: Policy
    setting: Setting


class QueryEstimator:
    """A trained estimator that reads queries. Immutable; as safe to share as its features are."""

    def __init__(self, trained: Trained, features: Features, *, goal: Goal | None = None) -> None:
        """Choose the price that meets a goal.

        Args:
            trained: What was fitted.
            features: Its features.
            goal: What is asked; None means the goal that the estimator was trained with.

        Raises:
            UsageError: The goal cannot be met.
        """
        self.trained = trained
        self.features = features
        asked = trained.goal if goal is None else goal
        self.setting = trained.setting if asked == trained.goal else resolve(asked, trained.tradeoff)
        self._policy = policy_of(self.setting, trained.tradeoff)

    @classmethod
    def open(
        cls, folder: str | Path, *, goal: Goal | None = None, prober: Prober | None = None
    ) -> "QueryEstimator":
        """Open the folder that `dami-merge train` wrote.

        Args:
            folder: The folder.
            goal: What is asked; None means the goal that the estimator was trained with.
            prober: Asks the models, for features that need them; these are checked only when they are asked.

        Raises:
            InputRefused: It is not an estimator, or it does not say what it said when it was fitted.
            UsageError: The goal cannot be met, or features need a prober.
        """
        return cls.of(load_estimator(Path(folder)), Path(folder), goal=goal, prober=prober)

    @classmethod
    def of(
        cls, trained: Trained, folder: Path, *, goal: Goal | None = None, prober: Prober | None = None
    ) -> "QueryEstimator":
        """Open the features of an estimator that is already read; see `open`."""
        features = reopened(trained.features_name, trained.described, prober)
        check_features(folder, features, trained)
        return cls(trained, features, goal=goal)

    @property
    def kind(self) -> str:
        """Kind of estimator, such as `curve`."""
        return self.trained.fitted.kind

    @property
    def lambdas(self) -> tuple[Fraction, ...]:
        """λ that it knows, ascending."""
        return self.trained.fitted.lambdas

    def decide(
        self,
        queries: Sequence[AnyQuery],
        *,
        available: Collection[Fraction] | None = None,
        budget: float | None = None,
    ) -> Explained:
        """Choose a λ for each query.

        Args:
            queries: Prompts, or conversations as OpenAI `messages`.
            available: λ that may be chosen; None means all that it knows.
            budget: Mean tokens that these queries may spend together, probes included and as predicted; the
                price of tokens is raised until they do. None leaves the price as the goal has it.

        Raises:
            LambdaError: None of the available λ is known to the estimator.
            EstimatorError: An estimate is not a finite number.
        """
        inputs: Inputs = self.features.inputs([as_conversation(query) for query in queries])
        estimate = self.trained.fitted.estimate(inputs)
        if not np.isfinite(estimate.value).all() or not np.isfinite(estimate.cost).all():
            raise EstimatorError("an estimate is not a finite number", hint="the features may have failed")
        allowed = None
        if available is not None:
            served = set(available)
            allowed = np.array([lam in served for lam in self.lambdas])
            if not allowed.any():
                raise LambdaError(
                    "none of the available λ is known to the estimator",
                    hint="serve some of the λ that it was trained on, or train it on those that you serve",
                )
        choices = choose(estimate, self._policy, allowed)
        if budget is not None and len(queries):
            left = budget - float(inputs.spent.mean())
            choices = within_budget(estimate, self._policy, left, allowed)
        decisions = tuple(
            Decision(self.lambdas[place], float(spent), bool(held), bool(novel))
            for place, spent, held, novel in zip(
                choices.places.tolist(), inputs.spent, choices.held, estimate.novel, strict=True
            )
        )
        return Explained(decisions, estimate, choices, self._policy, self.setting)


def as_conversation(query: AnyQuery) -> Conversation:
    """A prompt or OpenAI `messages` as roles and texts; parts of a message that are not text are left out."""
    if isinstance(query, str):
        return [{"role": "user", "content": query}]
    return [{"role": str(turn.get("role", "user")), "content": _text(turn.get("content"))} for turn in query]


def inputs_of(features: Features, questions: Sequence[Question]) -> Inputs:
    """Features of questions, with their groups for the category table."""
    found = features.inputs([as_conversation(messages_of(question)) for question in questions])
    return replace(found, groups=tuple(question.group for question in questions))


def messages_of(question: Question) -> list[dict[str, str]]:
    """The prompt of a question as OpenAI `messages`."""
    return [{"role": turn.role, "content": turn.content} for turn in question.messages]


def _text(content: object) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return str(content)
