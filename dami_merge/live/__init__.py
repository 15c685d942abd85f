"""Live λ: one model whose weights are set to any λ in place. The on-demand merge of the paper."""

from dami_merge.live.loading import load_live
from dami_merge.live.model import LiveModel

__all__ = ["LiveModel", "load_live"]
