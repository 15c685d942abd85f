"""The contents of estimator.json, declared once: unknown fields are refused."""

import msgspec

from dami_merge.estimators.fitted import Scalar
from dami_merge.estimators.goal import Goal, Setting

DECLARED = "estimator.json"
LEARNED = "estimator.safetensors"


class Conformance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A query whose features and estimate must be what they were when the estimator was fitted.

    Attributes:
        messages: The query.
        lam: λ that the default goal chooses for it, such as `3/10`; named `lambda` in JSON.
    """

    messages: list[dict[str, str]]
    lam: str = msgspec.field(name="lambda")

    def __post_init__(self) -> None:
        """Refuse turns that are not a role and a text."""
        if not self.messages or any(turn.keys() != {"role", "content"} for turn in self.messages):
            raise ValueError("a turn has other fields than `role` and `content`")


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an estimator was fitted on.

    Attributes:
        weights: Digest of the grid's weights; empty for a pair that was swept without a grid.
        rollouts: Digest of the rollouts file; empty for an estimator that was fitted without labels.
        settings: Digest of the settings of the rollouts.
        queries: Number of queries.
        samples: Number of answers.
        seed: Seed of the fit.
    """

    weights: str
    rollouts: str
    settings: str
    queries: int
    samples: int
    seed: int


class Declared(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Contents of estimator.json.

    Attributes:
        version: Version of the format.
        kind: Kind of estimator, one of `kinds.RESTORE`.
        features: Name of its features.
        described: What the features were, such as the version of a hash or the digest of an encoder.
        lambdas: λ that it knows, ascending, such as `3/10`.
        settings: Options of the fit.
        goal: What is asked if nobody asks for something else.
        setting: How that goal is met, as measured out of fold.
        origin: What it was fitted on.
        made_with: Versions of dami-merge and numpy.
        learned: Digest of estimator.safetensors.
        conformance: Queries that are checked at load.
    """

    version: int
    kind: str
    features: str
    described: dict[str, str]
    lambdas: list[str]
    settings: dict[str, Scalar]
    goal: Goal
    setting: Setting
    origin: Origin
    made_with: dict[str, str]
    learned: str
    conformance: list[Conformance]


FORMAT_OF_ESTIMATORS = 1
