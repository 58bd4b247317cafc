"""A CLIP that learns: which of its parts move when, and one step of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..models.spec import ModelSpec
from . import augment
from .batches import Batch
from .loss import MAX_LOGIT_SCALE, backward_in_parts, contrastive_loss
from .model import encode_tokens
from .optimiser import make_optimiser
from .options import TrainOptions

# Radford et al. 2021 do not say; open_clip's default too is to leave gradients alone, but one odd batch of a small set
# must not undo what was learned.
_MAX_NORM = 1.0


class Learner:
    """The network with its optimiser, on one device.

    Args:
        network: float32; is trained in place.
        dtype: what matrices are multiplied in; weights, sums and the loss stay float32.
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
        self._all = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
        # float16 alone has too few exponents for small gradients.
        self.scaler = torch.amp.GradScaler(self._kind, enabled=dtype == torch.float16)

    def begin_epoch(self, epoch: int) -> None:
        """Thaws what this epoch trains, and puts every part into the mode it learns in."""
        first = epoch < self._options.unfreeze_after
        parameters = dict(self.network.named_parameters())
        heads = set(head_names(self.network)) if first else set(self._all)
        for name in self._all:
            parameters[name].requires_grad_(name in heads)
        # The statistics of a trained network's batch norms stand still: those of small batches are worse.
        self.network.train(self._options.from_scratch)

    def step(self, batch: Batch, rate: float) -> float:
        """One update from one batch; returns the loss."""
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
        pixels, tokens, right = (
            torch.from_numpy(array).to(self.device) for array in (batch.pixels, batch.tokens, batch.right)
        )
        prepared = self._prepare(pixels)
        size = self._options.batch
        images = [lambda part=part: self.embed_images(part) for part in prepared.split(size)]
        texts = [lambda part=part: self.embed_tokens(part) for part in tokens.split(size)]
        seen: list[torch.Tensor] = []

        def loss_of(image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
            loss = contrastive_loss(image, text, right, self.network.logit_scale.exp())
            seen.append(loss.detach())
            return self.scaler.scale(loss)

        with _batch_norms_count_once(self.network, twice=len(images) > 1):
            backward_in_parts(images, texts, loss_of)
        return float(seen[0])

    def _prepare(self, pixels: torch.Tensor) -> torch.Tensor:
        """The images as the network takes them (`plain`), after random changes where they are wanted."""
        if self._options.augment == "strong":
            batch = augment.jitter(augment.crop_and_flip(pixels, pixels.shape[1]) / 255)
            return (batch - self._mean) / self._std
        return self.plain(pixels)

    def plain(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8[n, size, size, 3] → normalised float32[n, 3, size, size], unchanged otherwise."""
        return (pixels.permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std

    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        """float32[n, dim], unit length."""
        with self._precision():
            embedded = self.network.visual(images)
        return F.normalize(embedded.float(), dim=-1)

    def embed_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """float32[n, dim], unit length."""
        with self._precision():
            embedded = encode_tokens(self.network, tokens)
        return F.normalize(embedded.float(), dim=-1)

    def _precision(self) -> torch.autocast:
        return torch.autocast(self._kind, dtype=self._dtype, enabled=self._dtype != torch.float32)


class _batch_norms_count_once:
    """While images pass twice (gradient caching), running statistics take them in half as much each time.

    Each passing moves them by m' with (1 - m')² = 1 - m, so that both together move them by m.
    """

    def __init__(self, network: Any, twice: bool) -> None:
        norms = (module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
        self._norms = [(norm, norm.momentum) for norm in norms] if twice else []

    def __enter__(self) -> None:
        for norm, momentum in self._norms:
            norm.momentum = 1 - (1 - (momentum or 0.0)) ** 0.5

    def __exit__(self, *error: object) -> None:
        for norm, momentum in self._norms:
            norm.momentum = momentum


def tower_of(name: str) -> str:
    """'image', 'text', or '' for the temperature, which both share."""
    if name == "logit_scale":
        return ""
    return "image" if name.startswith("visual.") else "text"


def head_names(network: Any) -> list[str]:
    """Parameters of both projections, of what stands before them, and of both last blocks; and the temperature."""
    visual = network.visual
    last_text = f"transformer.resblocks.{len(network.transformer.resblocks) - 1}."
    heads = ["logit_scale", "text_projection", "ln_final.", last_text]
    if hasattr(visual, "attnpool"):
        heads += ["visual.attnpool.", f"visual.layer4.{len(visual.layer4) - 1}."]
    else:
        last = f"visual.transformer.resblocks.{len(visual.transformer.resblocks) - 1}."
        heads += ["visual.proj", "visual.ln_post.", last]
    return [name for name, _ in network.named_parameters() if name.startswith(tuple(heads))]
