"""From a recipe to a published grid: plan, build, publish. Only `build` and `pipeline` import torch."""
