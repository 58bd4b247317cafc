"""Trainer: selects the parts of a CLIP to train in each epoch, and runs the optimiser steps."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..models.spec import ModelSpec
from .data_loader import Batch, crop_and_flip, jitter
from .model import (
    MAX_LOGIT_SCALE,
    backward_in_parts,
    contrastive_loss,
    encode_tokens,
    halved_momentum,
    head_names,
    tower_of,
)
from .options import TrainOptions

# AdamW's betas for CLIP's ViTs (Radford et al. 2021, appendix F).
_BETAS = (0.9, 0.98)
# Neither Radford et al. 2021 nor open_clip's defaults clip gradients, but one odd batch of a small set must not undo
# what was learned.
_MAX_NORM = 1.0


class Trainer:
    """The network with its optimiser, on one device.

    Args:
        network: float32; trained in place.
        dtype: the type in which matrices are multiplied; weights, sums and the loss stay float32.
    """

    def __init__(self, network: Any, spec: ModelSpec, options: TrainOptions, device: str, dtype: torch.dtype) -> None:
        self.network, self._options, self._dtype = network.to(device), options, dtype
        self._kind = device.split(":")[0]
        self.device = device
        self._mean = torch.tensor(spec.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(spec.std, device=device).view(1, 3, 1, 1)
        network.requires_grad_(True)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(tower_of(name) != options.freeze)
        self.optimiser = make_optimiser(network, options.lr, options.weight_decay)
        self._trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
        # The exponent range of float16 is too narrow for small gradients.
        self.scaler = torch.amp.GradScaler(self._kind, enabled=dtype == torch.float16)

    def begin_epoch(self, epoch: int) -> None:
        """Unfreeze the parameters that this epoch trains, and set the mode of the network."""
        heads_only = epoch < self._options.unfreeze_after
        parameters = dict(self.network.named_parameters())
        unfrozen = set(head_names(self.network)) if heads_only else set(self._trained)
        for name in self._trained:
            parameters[name].requires_grad_(name in unfrozen)
        # The batch-norm statistics of a trained network stay fixed: those of small batches are worse.
        self.network.train(self._options.from_scratch)

    def step(self, batch: Batch, rate: float) -> float:
        """Update the weights with one batch at this learning rate; return the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss = self._backward(batch)
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_([p for p in self.network.parameters() if p.grad is not None], _MAX_NORM)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        with torch.no_grad():
            self.network.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
        return loss

    def _backward(self, batch: Batch) -> float:
        pixels, tokens, relevant = (
            torch.from_numpy(array).to(self.device) for array in (batch.pixels, batch.tokens, batch.relevant)
        )
        size = self._options.batch
        images = [lambda part=part: self.embed_images(part) for part in torch.split(self._prepare(pixels), size)]
        texts = [lambda part=part: self.embed_tokens(part) for part in torch.split(tokens, size)]
        seen: list[torch.Tensor] = []

        def loss_of(image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
            loss = contrastive_loss(image, text, relevant, self.network.logit_scale.exp())
            seen.append(loss.detach())
            return self.scaler.scale(loss)

        with halved_momentum(self.network) if len(images) > 1 else nullcontext():
            backward_in_parts(images, texts, loss_of)
        return float(seen[0])

    def _prepare(self, pixels: torch.Tensor) -> torch.Tensor:
        if self._options.augment == "strong":
            batch = jitter(crop_and_flip(pixels, pixels.shape[1]) / 255)
            return (batch - self._mean) / self._std
        return self.normalize(pixels)

    def normalize(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8[n, size, size, 3] → float32[n, 3, size, size] with the model's mean and deviation."""
        return (pixels.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std

    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        """Normalised images → float32[n, dim], unit length."""
        with self._autocast():
            embedded = self.network.visual(images)
        return F.normalize(embedded.float(), dim=-1)

    def embed_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """int64[n, length] → float32[n, dim], unit length."""
        with self._autocast():
            embedded = encode_tokens(self.network, tokens)
        return F.normalize(embedded.float(), dim=-1)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._kind, dtype=self._dtype, enabled=self._dtype != torch.float32)


def make_optimiser(module: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Return AdamW over the unfrozen parameters, with weight decay for the matrices only.

    Gains, biases, the temperature and the embeddings are not decayed. Most tokens occur in few texts; with decay, their
    embeddings would fade between them.
    """
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    decayed = {name for name, parameter in named if parameter.dim() >= 2 and "embedding" not in name}
    groups = [
        {"params": [p for name, p in named if name in decayed], "weight_decay": weight_decay},
        {"params": [p for name, p in named if name not in decayed], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=_BETAS, fused=True)


def rate_at(step: int, steps: int, warmup: int, highest: float) -> float:
    """Return the learning rate of a step, counted from 0: it rises linearly for `warmup` steps, then follows a cosine.

    Source: Loshchilov & Hutter 2017 (SGDR) without restarts, as CLIP is trained (Radford et al. 2021, §2.5).
    """
    if step < warmup:
        return highest * (step + 1) / warmup
    return highest * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
