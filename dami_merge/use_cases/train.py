"""From a rollouts file to the folder of a trained estimator."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from dami_merge.errors import UsageError
from dami_merge.estimators.artefact import Trained, refuse_other_content, save_estimator
from dami_merge.estimators.examples import Examples, examples_of
from dami_merge.estimators.features.opening import open_features
from dami_merge.estimators.fitted import Features, Scalar
from dami_merge.estimators.for_grid import asks_models, prober_of
from dami_merge.estimators.goal import Goal
from dami_merge.estimators.kinds import RESTORE
from dami_merge.estimators.pairs import PairCounts, PairOptions, Rule, preferences
from dami_merge.estimators.probing import ProbeSettings
from dami_merge.evaluation.rollouts_file import read_rollouts, read_sidecar
from dami_merge.files import digest_bytes
from dami_merge.grid.manifest import read_grid, weights_digest

DEFAULT_FEATURES: Mapping[str, str] = {"conf": "conf", "constant": "length", "category": "length"}
"""Features of the kinds that do not use `text` by default."""


@dataclass(frozen=True, slots=True)
class Training:
    """What is trained, and how.

    Attributes:
        kind: Kind of estimator, such as `curve`.
        features: Name of the features; None means the default of the kind.
        options: Options of the fit by name.
        goal: What is asked of it by default.
        folds: Parts for predictions out of fold.
        seed: Seed of everything that is drawn.
        limit: Number of queries to use, from the start of the rollouts; None means all.
        probe: How the features `conf` ask for short answers; None means what suits the models.
        layers: Layers of the features `state`; None means some that are evenly spread.
    """

    kind: str
    features: str | None = None
    options: Mapping[str, Scalar] = field(default_factory=dict)
    goal: Goal = field(default_factory=Goal)
    folds: int = 5
    seed: int = 0
    limit: int | None = None
    probe: ProbeSettings | None = None
    layers: tuple[int, ...] | None = None


def read_examples(rollouts: str | Path, *, limit: int | None = None) -> Examples:
    """Read measured queries.

    Args:
        rollouts: Rollouts file.
        limit: Number of queries to keep, from the start of the file; None means all.

    Raises:
        InputRefused: The rollouts or their settings cannot be read, or no query has answers at every λ.
    """
    path = Path(rollouts)
    every = examples_of(read_rollouts(path), read_sidecar(path))
    return every if limit is None else every.part(range(min(limit, len(every))))


def train_estimator(
    training: Training,
    grid: str | Path,
    rollouts: str | Path,
    output: str | Path = "est",
    *,
    on_step: Callable[[str, int, int], None] = lambda _, __, ___: None,
) -> Trained:
    """Train an estimator on the rollouts of a grid and write it.

    Args:
        training: What is trained, and how.
        grid: Folder of the grid that was swept.
        rollouts: Rollouts file.
        output: Folder to write; an estimator that is there is replaced.
        on_step: Called with what is done, and how many steps of how many.

    Raises:
        UsageError: The kind, the features, an option or the goal is not possible, or another grid was swept.
        InputRefused: The rollouts cannot be read or do not allow a fit.
        OutputRefused: The output holds something else.
        GridUnreadable: grid.json is missing, unreadable or malformed.

    Example:
        >>> from dami_merge import Recipe, SweepRecipe, build_grid, plan_grid, sweep
        >>> pair = Recipe(instruct="bundled:tiny/instruct", thinking="bundled:tiny/thinking")
        >>> limits = {"limit": 40, "samples": 1, "lambdas": [0, 1], "max_tokens": 96}
        >>> asked = SweepRecipe(questions="bundled:train", **limits)
        >>> _ = sweep(build_grid(plan_grid(pair, "grid")).path, "r.jsonl", asked)
        >>> trained = train_estimator(Training("curve", options={"draws": 2}), "grid", "r.jsonl")
        >>> trained.origin.queries
        40
    """
    from dami_merge.estimators.training import Plan, train

    if training.kind not in RESTORE:
        raise UsageError(
            f"there is no estimator {training.kind!r}", hint=f"choose one of {', '.join(RESTORE)}"
        )
    refuse_other_content(Path(output))
    root, path = Path(grid), Path(rollouts)
    weights = weights_digest(read_grid(root))
    swept = read_sidecar(path).settings.backend.get("weights")
    if swept is not None and swept != weights:
        raise UsageError(
            f"{path} holds answers of other weights than those of {root}", hint="give the grid that was swept"
        )
    examples = read_examples(path, limit=training.limit)
    features = _features(training, root)
    plan = Plan(training.kind, dict(training.options), training.goal, training.folds, training.seed)
    trained = train(
        plan, examples, features, weights=weights, rollouts=digest_bytes(path.read_bytes()), on_step=on_step
    )
    save_estimator(Path(output), trained)
    return trained


def _features(training: Training, grid: Path) -> Features:
    spec = training.features or DEFAULT_FEATURES.get(training.kind, "text")
    prober = prober_of(grid) if asks_models(spec) else None
    return open_features(spec, prober=prober, probe=training.probe, layers=training.layers)


def pairs_behind(trained: Trained, rollouts: str | Path, *, limit: int | None = None) -> PairCounts | None:
    """Count the pairs that an estimator was fitted on; None unless it is `pref`.

    Args:
        trained: The estimator.
        rollouts: Rollouts file that it was fitted on.
        limit: Number of queries that were used.
    """
    if trained.fitted.kind != "pref":
        return None
    settings = trained.fitted.settings()
    options = msgspec.convert({name: settings[name] for name in PairOptions.__struct_fields__}, PairOptions)
    return preferences(read_examples(rollouts, limit=limit), options)[1]


def count_pairs(rollouts: str | Path, options: PairOptions) -> dict[Rule, PairCounts]:
    """Count the pairs that every rule makes and drops.

    Raises:
        InputRefused: The rollouts cannot be read, or a rule leaves no pair.
    """
    examples = read_examples(rollouts)
    rules: tuple[Rule, ...] = ("hard", "robust", "soft")
    return {rule: preferences(examples, msgspec.structs.replace(options, rule=rule))[1] for rule in rules}
