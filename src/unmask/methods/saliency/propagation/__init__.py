"""Propagation: the score handed back from layer to layer, by rules given to one mechanism."""

from unmask.methods.saliency.propagation.acd import acd, neighbouring
from unmask.methods.saliency.propagation.attnlrp import attnlrp, cp_lrp
from unmask.methods.saliency.propagation.contextual_decomposition import (
    contextual_decomposition,
    decomposition_game,
)
from unmask.methods.saliency.propagation.deeplift import deeplift, deeplift_reveal_cancel
from unmask.methods.saliency.propagation.lrp import lrp
from unmask.methods.saliency.propagation.lrp_rnn import lrp_rnn
from unmask.methods.saliency.propagation.taylor_decomposition import (
    deep_taylor,
    taylor_decomposition,
)

__all__ = [
    "acd",
    "attnlrp",
    "contextual_decomposition",
    "cp_lrp",
    "decomposition_game",
    "deep_taylor",
    "deeplift",
    "deeplift_reveal_cancel",
    "lrp",
    "lrp_rnn",
    "neighbouring",
    "taylor_decomposition",
]
