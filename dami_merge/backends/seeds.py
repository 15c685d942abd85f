"""The seed of one answer: of the sweep's seed, the question, λ and the sample number, and of nothing else."""

import hashlib
import json

from dami_merge.evaluation.generation import Request
from dami_merge.lambdas import fraction_text

SEED_BITS = 128
"""As wide as the key of a Philox generator."""


def answer_seed(seed: int, request: Request) -> int:
    """A number of 128 bits; a server that takes fewer gets the lowest.

    Stable across releases, machines and Python versions: a sweep that goes on elsewhere draws the same.
    """
    identity = json.dumps([seed, request.question.id, fraction_text(request.lam), request.sample])
    digest = hashlib.blake2b(identity.encode(), digest_size=SEED_BITS // 8).digest()
    return int.from_bytes(digest, "little")
