"""What an evaluation takes. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dami_merge.estimators.fitted import Scalar
from dami_merge.estimators.goal import Goal


@dataclass(frozen=True, slots=True)
class Entry:
    """An estimator that is fitted for an evaluation.

    Attributes:
        kind: Its kind, such as `curve`.
        features: Its features; None means those of its kind.
        options: Options of the fit.
        name: Its name in the table; empty means kind and features.
        control: Whether it is a control.
        goal: What is asked of it; None means what is asked of all.
    """

    kind: str
    features: str | None = None
    options: Mapping[str, Scalar] = field(default_factory=dict)
    name: str = ""
    control: bool = False
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is evaluated, and on what.

    Attributes:
        rollouts: Rollouts of the test questions.
        estimators: Folders that `dami-merge train` wrote, or `bundled`.
        train: Rollouts of the training questions, for entries and controls; None means that nothing is
            fitted.
        entries: What is fitted on them; None means every kind, and the controls.
        controls: Entries that the others must beat; None means a table of categories, and the length alone.
        seeds: Number of seeds of every fit, and of permutations of the training labels.
        goal: What is asked of all; None means Thinking's accuracy for the fewest tokens.
        heldout: Rollouts of a family of questions that no training question belongs to.
        paraphrased: Rollouts of paraphrases, each with the id of its question and `-p` behind it.
        folds: Parts that are left out to choose a price of tokens.
        seed: Seed of the resamples.
    """

    rollouts: Path
    estimators: tuple[str, ...] = ()
    train: Path | None = None
    entries: tuple[Entry, ...] | None = None
    controls: tuple[Entry, ...] | None = None
    seeds: int = 3
    goal: Goal | None = None
    heldout: Path | None = None
    paraphrased: Path | None = None
    folds: int = 5
    seed: int = 0
