"""Contenders of an evaluation: artefacts that are opened, and entries that are fitted for the occasion."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter

from dami_merge.errors import InputRefused, Problem, UsageError
from dami_merge.estimators.artefact import Trained
from dami_merge.estimators.deciding import QueryEstimator, inputs_of, messages_of
from dami_merge.estimators.examples import Examples
from dami_merge.estimators.features.opening import open_features
from dami_merge.estimators.features.remembered import RememberedFeatures
from dami_merge.estimators.fitted import Features, Scalar
from dami_merge.estimators.for_grid import asks_models, estimator_for, prober_of
from dami_merge.estimators.goal import Goal, policy_of
from dami_merge.estimators.judge.contest import Contender, Decided, Refit, Say
from dami_merge.estimators.judge.evaluated import Entrant
from dami_merge.estimators.kinds import RESTORE
from dami_merge.estimators.policy import choose
from dami_merge.files import digest_bytes
from dami_merge.grid.manifest import Grid
from dami_merge.use_cases.evaluation import Entry, Evaluation
from dami_merge.use_cases.train import DEFAULT_FEATURES

CONTROLS = (
    Entry("category", name="category only", control=True),
    Entry("curve", "length", name="length only", control=True),
)
"""What every entry must beat: a table of categories, which no query names, and the length of the prompt."""

ENTRIES = tuple(Entry(kind) for kind in ("curve", "pref", "pred", "knn", "kmeans", "constant"))
"""What is fitted if nobody says what."""

_TIMED = 20
_NOT_OPTIONS = {"names", "seed"}


@dataclass(frozen=True, slots=True, eq=False)
class Entered:
    """A contender with what its row must say about it.

    Attributes:
        contender: What is judged.
        opened: Its estimators, one for each seed.
        source: Folder of an artefact; empty for one that was fitted here.
    """

    contender: Contender
    opened: tuple[QueryEstimator, ...]
    source: str


@dataclass(frozen=True, slots=True, eq=False)
class Maker:
    """Fits entries on measured queries; features are opened once.

    Attributes:
        grid: Folder of the grid, for features that ask its models.
        evaluation: Goal and folds of all fits.
    """

    grid: Path
    evaluation: Evaluation
    _opened: dict[str, Features] = field(default_factory=dict)
    _trained: dict[tuple[str, str, str, int, str], Trained] = field(default_factory=dict)

    def _features(self, spec: str) -> Features:
        if spec not in self._opened:
            prober = prober_of(self.grid) if asks_models(spec) else None
            self._opened[spec] = RememberedFeatures(open_features(spec, prober=prober))
        return self._opened[spec]

    def fit(self, entry: Entry, examples: Examples, seed: int) -> QueryEstimator:
        """Train an entry as `dami-merge train` does; other goals of the same entry are not fitted again.

        Raises:
            UsageError: The features, an option or the goal is not possible.
            InputRefused: The queries do not allow a fit.
        """
        from dami_merge.estimators.training import Plan, train

        features = self._features(entry.features or DEFAULT_FEATURES.get(entry.kind, "text"))
        goal = entry.goal or self.evaluation.goal or Goal()
        answers = digest_bytes(examples.right.tobytes() + examples.lengths.tobytes())
        key = (entry.kind, features.spec, repr(sorted(entry.options.items())), seed, answers)
        if key not in self._trained:
            plan = Plan(
                kind=entry.kind, options=dict(entry.options), goal=goal, folds=self.evaluation.folds,
                seed=seed,
            )  # fmt: skip
            self._trained[key] = train(plan, examples, features)
        return QueryEstimator(self._trained[key], features, goal=goal)


def read_entry(text: str) -> Entry:
    """Read `KIND` or `KIND:FEATURES`, such as `curve` or `knn:wordllama`.

    Raises:
        UsageError: There is no such kind.
    """
    kind, _, features = text.strip().partition(":")
    if kind not in RESTORE:
        raise UsageError(f"there is no estimator {kind!r}", hint=f"choose one of {', '.join(RESTORE)}")
    return Entry(kind, features or None)


def opened_artefacts(evaluation: Evaluation, manifest: Grid, root: Path, made: Maker) -> list[Entered]:
    """Open the artefacts that are judged.

    Args:
        evaluation: Names them.
        manifest: Contents of grid.json, whose weights they must have been trained on.
        root: Folder of the grid.
        made: Fits them again on shuffled labels.

    Raises:
        InputRefused: One cannot be read, belongs to other weights or was trained on the test rollouts.
        UsageError: The goal cannot be met.
    """
    found = []
    digest = digest_bytes(evaluation.rollouts.read_bytes()) if evaluation.estimators else ""
    for name in evaluation.estimators:
        opened = estimator_for(manifest, root, name, goal=evaluation.goal)
        if opened.trained.origin.rollouts == digest:
            fact = f"{name} was trained on {evaluation.rollouts} itself"
            raise InputRefused([Problem("trained-on", fact, "give rollouts of other questions")])
        entry = Entry(
            opened.trained.fitted.kind, opened.trained.features_name, _options(opened.trained), name=name
        )
        contender = Contender(name, (_say(opened),), _refit(entry, made))
        found.append(Entered(contender, (opened,), str(name)))
    return found


def fitted_entry(entry: Entry, made: Maker, examples: Examples) -> Entered:
    """Fit an entry with every seed."""
    opened = tuple(made.fit(entry, examples, seed) for seed in range(made.evaluation.seeds))
    refit = None if entry.control or entry.kind == "constant" else _refit(entry, made)
    contender = Contender(entry_name(entry), tuple(map(_say, opened)), refit, entry.control)
    return Entered(contender, opened, "")


def _refit(entry: Entry, made: Maker) -> Refit:
    return lambda examples, seed: _say(made.fit(entry, examples, seed))


def _options(trained: Trained) -> dict[str, Scalar]:
    return {name: value for name, value in trained.fitted.settings().items() if name not in _NOT_OPTIONS}


def entry_name(entry: Entry) -> str:
    """The name of an entry in the table."""
    return entry.name or (entry.kind if entry.features is None else f"{entry.kind}:{entry.features}")


def _say(opened: QueryEstimator) -> Say:
    """What an estimator says of measured queries, at their λ: it sees prompts and groups."""

    def say(examples: Examples) -> Decided:
        columns = [opened.lambdas.index(lam) for lam in examples.lambdas]
        inputs = inputs_of(opened.features, examples.questions)
        estimate = opened.trained.fitted.estimate(inputs)
        narrow = replace(
            estimate, lambdas=examples.lambdas, value=estimate.value[:, columns],
            cost=estimate.cost[:, columns], draws=estimate.draws[:, :, columns],
        )  # fmt: skip
        whole = policy_of(opened.setting, opened.trained.tradeoff)
        policy = replace(whole, static=whole.static[columns])
        places = choose(narrow, policy).places
        return Decided(narrow, inputs.spent, places, int(policy.static.argmax()))

    return say


def predicts(each: Entered, test: Examples) -> bool:
    """Whether it predicts success, and differently for different queries."""
    told = each.contender.fitted[0](test.part([0])).estimate.kind == "curves"
    return told and not each.contender.control and each.opened[0].trained.fitted.kind != "constant"


def entrant(each: Entered, test: Examples) -> Entrant:
    """How the row of a contender was made."""
    trained = each.opened[0].trained
    timed = None if asks_models(trained.features_name) else _milliseconds(each.opened[0], test)
    return Entrant(
        name=each.contender.name, kind=trained.fitted.kind, features=trained.features_name,
        source=each.source, queries=trained.origin.queries,
        settings=tuple(one.setting for one in each.opened), milliseconds=timed,
    )  # fmt: skip


def _milliseconds(opened: QueryEstimator, test: Examples) -> float:
    """The median over some queries, each decided on its own with features that remember nothing."""
    fresh = QueryEstimator(opened.trained, open_features(opened.trained.features_name))
    times = []
    for question in test.questions[: _TIMED + 1]:
        start = perf_counter()
        fresh.decide([messages_of(question)])
        times.append(1000 * (perf_counter() - start))
    return median(times[1:] or times)
