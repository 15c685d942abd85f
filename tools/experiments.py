"""The experiments on estimators of λ, T1 to T5, from rollouts that exist: tables as JSON and Markdown.

    python tools/experiments.py main grid --train train.jsonl --test test.jsonl -o results
    python tools/experiments.py learning grid --train train.jsonl --test test.jsonl -o results

`main` is T1, `learning` T2, `budget` T3, `signals` T4 and `controls` T5. Everything is judged as
`dami-merge evaluate` judges it; nothing is generated but the probes of `signals`.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from readme_section import put_section

from dami_merge.estimators.examples import Examples
from dami_merge.estimators.goal import Goal
from dami_merge.estimators.judge.contest import ContestRow, Decided
from dami_merge.estimators.judge.evaluated import LearningPoint, evaluation_value
from dami_merge.estimators.judge.judgement import Bench, bench, judge_routing
from dami_merge.estimators.judge.predictions import needed_auroc, thinking_gain
from dami_merge.estimators.judge.resampled import Figure95
from dami_merge.estimators.judge.routing import Routing
from dami_merge.use_cases.entrants import ENTRIES, Maker, entry_name, fitted_entry
from dami_merge.use_cases.evaluate import evaluate_estimators
from dami_merge.use_cases.evaluation import Entry, Evaluation
from dami_merge.use_cases.train import read_examples

SIZES = (50, 100, 200, 500, 1000)
LABELS = (0, 50, 200, 1000)
SAMPLES = (1, 2, 4, 8)
ANCHORS = (3, 5, 7, 11)

LEARNERS = (
    Entry("pref", options={"rule": "hard"}, name="pref hard"),
    Entry("pref", options={"rule": "soft"}, name="pref soft"),
    Entry("pred"),
    Entry("curve"),
    Entry("knn"),
)

PROBES = (
    Entry("conf", "conf", {"terms": "ambiguity"}, "HA"),
    Entry("conf", "conf", {"terms": "discrepancy"}, "CD"),
    Entry("conf", "conf", {}, "HA+CD"),
    Entry("conf", "conf", {"source": "entropy"}, "HA+CD entropy"),
    Entry("curve", "state", {}, "probe"),
    Entry("curve", "text+conf+state", {}, "stack"),
)

ROOT = Path(__file__).resolve().parent.parent

SHOWN = ("name", "accuracy", "tokens", "saved", "over the hull", "over Thinking", "verdict")
"""Columns of T1 in the README."""

Cells = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Job:
    """One experiment: its evaluation, its grid, and its size.

    Attributes:
        evaluation: Rollouts, seeds and goal.
        grid: Folder of the grid.
        quick: Least work: the smallest sizes only.
    """

    evaluation: Evaluation
    grid: Path
    quick: bool

    @property
    def train(self) -> Examples:
        """The training queries."""
        assert self.evaluation.train is not None, "required by the command line"
        return read_examples(self.evaluation.train)

    def some(self, values: Sequence[int]) -> Sequence[int]:
        """The values of a factor: two of them if quick."""
        return values[:2] if self.quick else values


def main_table(job: Job) -> Iterator[Cells]:
    """T1: every estimator with and without its guard, and the baselines."""
    goal = job.evaluation.goal or Goal()
    bare = msgspec.structs.replace(goal, guard=0.0)
    entries = [
        entry for each in ENTRIES for entry in (each, replace(each, name=f"{each.kind}, no guard", goal=bare))
    ]
    report = evaluate_estimators(replace(job.evaluation, entries=tuple(entries)), job.grid, on_step=say)
    yield {"report": evaluation_value(report)}
    yield from (_row_cells(row) for row in report.rows)


def learning(job: Job) -> Iterator[Cells]:
    """T2: the same features and more and more training queries."""
    own = bench(read_examples(job.evaluation.rollouts), seed=0)
    made, train = Maker(job.grid, job.evaluation), job.train
    for size, entry in itertools.product(job.some(SIZES), LEARNERS):
        if size <= len(train):
            say(f"{entry_name(entry)} on {size}")
            gain, cells = _judged(entry, made, train.part(range(size)), own)
            point = LearningPoint(name=entry_name(entry), queries=size, over_hull=gain)
            yield {"learning": point, "name": point.name, "queries": size, **cells}


def budget(job: Job) -> Iterator[Cells]:
    """T3: samples and anchors of `curve` for the rollouts of all training queries at K = 1 and three λ."""
    train, made = job.train, Maker(job.grid, job.evaluation)
    own = bench(read_examples(job.evaluation.rollouts), seed=0)
    most, width = train.right.shape[2], len(train.lambdas)
    rollouts = len(train) * min(ANCHORS)
    for samples, anchors in itertools.product(job.some(SAMPLES), job.some(ANCHORS)):
        queries = rollouts // (samples * anchors)
        if samples > most or anchors > width or queries < 50:
            continue
        say(f"K = {samples}, {anchors} λ, {queries} queries")
        places = np.unique(np.linspace(0, width - 1, anchors).round().astype(np.int64)).tolist()
        part = (
            train.part(range(queries))
            .some_samples(range(samples))
            .at([train.lambdas[place] for place in places])
        )
        _, cells = _judged(Entry("curve"), made, part, own)
        used = queries * samples * anchors
        yield {"name": f"K = {samples}, {anchors} λ", "queries": queries, "rollouts": used, **cells}


def signals(job: Job) -> Iterator[Cells]:
    """T4: confidence signals and probes with more and more labels.

    Without labels there is only confidence, and no price of tokens: prices are chosen by labels.
    """
    own = bench(read_examples(job.evaluation.rollouts), seed=0)
    made, train = Maker(job.grid, job.evaluation), job.train
    for labels, entry in itertools.product(job.some(LABELS), PROBES):
        if labels > len(train) or (labels == 0 and entry.kind != "conf"):
            continue
        say(f"{entry.name} with {labels} labels")
        zero = replace(entry, options={**entry.options, "labelled": False}, goal=Goal(mu=0.0, guard=0.0))
        part = train if labels == 0 else train.part(range(labels))
        _, cells = _judged(entry if labels else zero, made, part, own)
        yield {"name": entry.name, "labels": labels, **cells}


def controls(job: Job) -> Iterator[Cells]:
    """T5: what must fail, and what must hold elsewhere."""
    report = evaluate_estimators(job.evaluation, job.grid, on_step=say)
    yield {"report": evaluation_value(report)}
    for row in report.rows:
        yield {
            "name": row.name,
            "over the hull": _told(row.judgement.over_hull),
            "shuffled labels": "" if row.shuffled is None else _told(row.shuffled.gain),
            "without cut answers": "" if row.uncut is None else _told(row.uncut.over_hull),
            "same λ for paraphrases": "" if row.paraphrased is None else f"{row.paraphrased.same:.0%}",
            "held-out family": "" if row.heldout is None else _told(row.heldout.judgement.over_hull),
            "over its static λ": "" if row.heldout is None else _told(row.heldout.over_static),
            "verdict": "control" if row.control else " ".join(row.ruling.sentences),
        }


EXPERIMENTS: Mapping[str, Callable[[Job], Iterator[Cells]]] = {
    "main": main_table, "learning": learning, "budget": budget, "signals": signals, "controls": controls,
}  # fmt: skip


def _judged(entry: Entry, made: Maker, train: Examples, own: Bench) -> tuple[Figure95, Cells]:
    """Fit with every seed and judge on all λ of the test, also those that the fit does not know."""
    contender = fitted_entry(entry, made, train).contender
    said = [fitted(own.examples.at(train.lambdas)) for fitted in contender.fitted]
    columns = [own.examples.lambdas.index(lam) for lam in train.lambdas]
    found = judge_routing(own, [_spread(each, columns, len(own.examples.lambdas)) for each in said])
    signal = np.mean([thinking_gain(each.estimate) for each in said], axis=0)
    auroc = needed_auroc(signal, own.examples, own.draws)
    return found.over_hull, {
        "accuracy": f"{found.accuracy.value:.1%}",
        "tokens": f"{found.tokens.value:.1f}",
        "over the hull": _told(found.over_hull),
        "over Thinking": _told(found.over_thinking),
        "saved": f"{found.saved.value:.1%}",
        "AUROC": "" if auroc is None else f"{auroc.value:.3f}",
        "probe tokens": f"{found.spent:.1f}",
    }


def _spread(said: Decided, columns: Sequence[int], width: int) -> Routing:
    """A routing among some λ as one among all."""
    own = said.routing
    shares = np.zeros((len(own.spent), width))
    shares[:, columns] = own.shares
    return Routing(shares, own.spent)


def _row_cells(row: ContestRow) -> Cells:
    own = row.judgement
    return {
        "name": row.name,
        "accuracy": f"{own.accuracy.value:.1%}",
        "tokens": f"{own.tokens.value:.1f}",
        "saved": f"{own.saved.value:.1%}",
        "over the hull": _told(own.over_hull),
        "over Thinking": _told(own.over_thinking),
        "over random": _told(own.over_random),
        "of table": "" if own.table is None or own.table.won is None else f"{own.table.won.value:.0%}",
        "of oracle": "" if own.oracle is None or own.oracle.won is None else f"{own.oracle.won.value:.0%}",
        "verdict": "control" if row.control else row.ruling.kind,
    }


def _told(figure: Figure95) -> str:
    low_high = "" if figure.interval is None else (
        f" [{100 * figure.interval.low:+.1f}, {100 * figure.interval.high:+.1f}]"
    )  # fmt: skip
    return f"{100 * figure.value:+.1f}{low_high}"


def say(what: str) -> None:
    """Progress on stderr."""
    print(what, file=sys.stderr, flush=True)


def markdown(rows: Sequence[Cells]) -> str:
    """A table of rows with the same names."""
    if not rows:
        return "no row: too few training queries\n"
    names = list(rows[0])
    lines = [names, ["---"] * len(names), *([str(row[name]) for name in names] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("experiment", choices=EXPERIMENTS)
    add("grid", type=Path)
    add("--train", type=Path, required=True, metavar="FILE", help="rollouts of the training questions")
    add("--test", type=Path, required=True, metavar="FILE", help="rollouts of the test questions")
    add("--heldout", type=Path, metavar="FILE", help="rollouts of a family that nothing was trained on")
    add("--paraphrased", type=Path, metavar="FILE", help="rollouts of paraphrases, with ids that end in -p")
    add("--seeds", type=int, default=3, help="seeds of every fit")
    add("--folds", type=int, default=5, help="parts that are left out to choose a price")
    add("--mu", type=float, help="price of tokens; default: Thinking's accuracy for the fewest tokens")
    add("--quick", action="store_true", help="only the two smallest values of every factor")
    add("--readme", action="store_true", help="put the results of `main` into the README")
    add("-o", "--output", type=Path, default=Path("results"), help="folder for the JSON and the Markdown")
    return parser.parse_args()


def main() -> None:
    """Run one experiment and write its files."""
    options = _options()
    evaluation = Evaluation(
        options.test, train=options.train, seeds=options.seeds, folds=options.folds, heldout=options.heldout,
        paraphrased=options.paraphrased, goal=None if options.mu is None else Goal(mu=options.mu),
    )  # fmt: skip
    found = list(EXPERIMENTS[options.experiment](Job(evaluation, options.grid, options.quick)))
    reports = [row["report"] for row in found if "report" in row]
    curves = [row["learning"] for row in found if "learning" in row]
    rows = [
        {name: cell for name, cell in row.items() if name != "learning"}
        for row in found
        if "report" not in row
    ]
    options.output.mkdir(parents=True, exist_ok=True)
    value = curves or {"rows": rows, "reports": reports}
    encoded = msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2)
    stem = options.output / options.experiment
    stem.with_suffix(".json").write_bytes(encoded + b"\n")
    stem.with_suffix(".md").write_text(markdown(rows), encoding="utf-8")
    print(markdown(rows), end="")
    if options.readme and options.experiment == "main":
        put_section("results", shown_results(rows), ROOT / "README.md")


def shown_results(rows: Sequence[Cells]) -> list[str]:
    """The rows of T1 that the README shows, without those that turn the guard off."""
    shown = [{name: row[name] for name in SHOWN} for row in rows if "no guard" not in str(row["name"])]
    return markdown(shown).splitlines()


if __name__ == "__main__":
    main()
