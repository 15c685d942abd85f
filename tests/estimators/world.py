"""A simulated world whose success and token curves are known: what estimators must find, and what they
cannot.

Queries are words of four kinds. `easy` is answered at every λ, `hard` only where λ is large, `middle` from
0.5 on, `vain` nowhere. The kind shows in the text; `hidden` queries are half easy and half hard, and
nothing shows it.
"""

import random
from fractions import Fraction

import numpy as np

from dami_merge.estimators.examples import Examples
from dami_merge.estimators.features.text import TextFeatures
from dami_merge.estimators.fitted import Inputs
from dami_merge.evaluation.questions.question import Message, Question

LAMBDAS = tuple(Fraction(step, 4) for step in range(5))
PATH = np.array([float(lam) for lam in LAMBDAS])

SUCCESS = {
    "easy": np.array([0.95, 0.95, 0.95, 0.95, 0.95]),
    "middle": np.array([0.1, 0.4, 0.95, 0.95, 0.95]),
    "hard": np.array([0.05, 0.1, 0.2, 0.7, 0.95]),
    "vain": np.zeros(5),
}
TOKENS = np.array([10.0, 20.0, 40.0, 70.0, 100.0])


def world(
    count: int, samples: int, seed: int, kinds: tuple[str, ...] = ("easy", "middle", "hard")
) -> Examples:
    """Measured queries of some kinds, in turns."""
    rng = random.Random(f"texts {seed}")
    numbers = np.random.default_rng(seed)
    named = [kinds[place % len(kinds)] for place in range(count)]
    true = [rng.choice(("easy", "hard")) if kind == "hidden" else kind for kind in named]
    success = np.array([SUCCESS[kind] for kind in true])
    shape = (count, len(LAMBDAS), samples)
    right = (numbers.random(shape) < success[:, :, None]).astype(np.int8)
    length = numbers.lognormal(0.0, 0.3, shape) * TOKENS[None, :, None]
    lengths = np.maximum(1, np.rint(length)).astype(np.int64)
    questions = tuple(
        Question(f"q{place}", (Message("user", _text(kind, rng)),), "1", kind)
        for place, kind in enumerate(named)
    )
    return Examples(questions, LAMBDAS, right, lengths, np.zeros(shape, dtype=np.bool_), "settings")


def _text(kind: str, rng: random.Random) -> str:
    filler = "".join(rng.choice("pqrstuvw") for _ in range(rng.randint(4, 9)))
    return (
        f"{ {'easy': 'aba', 'middle': 'cdc', 'hard': 'efe', 'vain': 'ghg', 'hidden': 'iji'}[kind] } {filler}"
    )


def texts_of(examples: Examples) -> Inputs:
    """Text features and groups of measured queries."""
    prompts = [[{"role": m.role, "content": m.content} for m in q.messages] for q in examples.questions]
    found = TextFeatures().inputs(prompts)
    return Inputs(found.vectors, found.spent, examples.groups, found.blocks)
