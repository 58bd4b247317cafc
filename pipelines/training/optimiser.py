"""AdamW as CLIP is trained with it, and the learning rate over the steps."""

from __future__ import annotations

import math

import torch
from torch import nn

# Those of CLIP's ViTs (Radford et al. 2021, appendix F).
_BETAS = (0.9, 0.98)


def make_optimiser(module: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW over what is to be trained; decays matrices only: gains, biases and the temperature keep their size.

    Embeddings keep theirs too: most tokens are in few texts, and would fade between them.
    """
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    decayed = {name for name, parameter in named if parameter.dim() >= 2 and "embedding" not in name}
    groups = [
        {"params": [p for name, p in named if name in decayed], "weight_decay": weight_decay},
        {"params": [p for name, p in named if name not in decayed], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=_BETAS, fused=True)


def rate_at(step: int, steps: int, warmup: int, highest: float) -> float:
    """The learning rate of a step, counted from 0: up in a line for `warmup` steps, then down a half cosine to zero.

    Source: Loshchilov & Hutter 2017 (SGDR) without restarts, as CLIP is trained (Radford et al. 2021, §2.5).
    """
    if step < warmup:
        return highest * (step + 1) / warmup
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
