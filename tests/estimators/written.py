"""Measured queries as the files that a sweep writes."""

from pathlib import Path

import msgspec

from dami_merge.declared import encode
from dami_merge.estimators.examples import Examples
from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.rollouts_file import Settings, Sidecar, sidecar_path
from dami_merge.lambdas import fraction_text


def write_examples(path: Path, examples: Examples, *, weights: str | None = None) -> Path:
    """Write a rollouts file and its settings; without `weights`, of a sweep that knows none."""
    backend = {"backend": "test"} if weights is None else {"backend": "hf", "weights": weights}
    settings = Settings(backend=backend, grader="default")
    asked = {question.id: question for question in examples.questions}
    encoder = msgspec.json.Encoder()
    lines = [
        encoder.encode(
            Rollout(
                question=question.id,
                group=question.group,
                fraction=fraction_text(lam),
                sample=sample,
                text="",
                tokens=int(examples.lengths[row, column, sample]),
                finish="length" if examples.cut[row, column, sample] else "stop",
                thinking="none",
                answer=None,
                correct=bool(examples.right[row, column, sample]),
                seconds=0.0,
                settings=settings.digest(),
            )
        )
        for row, question in enumerate(examples.questions)
        for column, lam in enumerate(examples.lambdas)
        for sample in range(examples.right.shape[2])
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")
    sidecar_path(path).write_bytes(encode(Sidecar(settings=settings, questions=asked)))
    return path
