"""Two models' weights as dictionaries of tensors: the point between them, and how alike they are.

Knows names and tensors only: nothing of files, of the task or of what a model answers.
"""

import re

import torch
from torch.nn import functional

Weights = dict[str, torch.Tensor]
LAMBDA_STEPS = 10


def interpolated(instruct: Weights, thinking: Weights, numerator: int) -> Weights:
    """The grid member at numerator / LAMBDA_STEPS: float64 arithmetic, one rounding to float32."""
    if numerator in (0, LAMBDA_STEPS):
        return instruct if numerator == 0 else thinking
    rest = LAMBDA_STEPS - numerator
    return {
        name: ((rest * instruct[name].double() + numerator * thinking[name].double()) / LAMBDA_STEPS).float()
        for name in instruct
    }


def least_layer_cosine(instruct: Weights, thinking: Weights) -> float:
    """The smallest cosine between the two models' matrices over the layers and the embeddings.

    As `dami-merge check-lmc` judges a pair: a matrix has two or more dimensions above 1. Norm weights are
    left out, whose cosine is near 1 for any two models.
    """
    layers: dict[str, list[str]] = {}
    for name, tensor in instruct.items():
        if sum(size > 1 for size in tensor.shape) < 2:
            continue
        layer = re.match(r"model\.layers\.\d+|.*", name)
        assert layer is not None
        layers.setdefault(layer[0], []).append(name)
    flat = [
        [torch.cat([weights[n].double().flatten() for n in names]) for weights in (instruct, thinking)]
        for names in layers.values()
    ]
    return min(float(functional.cosine_similarity(left, right, dim=0)) for left, right in flat)
