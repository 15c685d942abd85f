"""The seed of one answer, derived only from the sweep's seed, the question, λ and the sample number."""

import hashlib
import json

from dami_merge.evaluation.generation import Request
from dami_merge.lambdas import fraction_text

SEED_BITS = 128
"""Width of the key of a Philox generator."""


def answer_seed(seed: int, request: Request) -> int:
    """Return a seed of 128 bits; a server that accepts fewer gets the lowest ones.

    Stable across releases, machines and Python versions: a sweep resumed elsewhere draws the same samples.
    """
    identity = json.dumps([seed, request.question.id, fraction_text(request.lam), request.sample])
    digest = hashlib.blake2b(identity.encode(), digest_size=SEED_BITS // 8).digest()
    return int.from_bytes(digest, "little")
