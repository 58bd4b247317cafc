"""The network in training: its parts, its text tower for short rows, its loss, and the mixing of weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..models.architecture import Architecture
from ..models.registry import BUILTIN
from ..models.spec import Activation
from ..models.towers import set_activation
from ..towhee_compat import import_clip

# "clipped to prevent scaling the logits by more than 100" (Radford et al. 2021, §2.5).
MAX_LOGIT_SCALE = math.log(100)

Forward = Callable[[], torch.Tensor]


def random_network(
    seed: int, architecture: Architecture = BUILTIN.architecture, activation: Activation = BUILTIN.activation
) -> Any:
    """Return a `towhee.models.clip.CLIP` with random weights."""
    torch.manual_seed(seed)
    clip: Any = import_clip()
    network = clip.CLIP(**architecture.values())
    set_activation(network, activation)
    return network


def tower_of(name: str) -> str:
    """Return the tower of a parameter: 'image', 'text', or '' for the temperature, which both share."""
    if name == "logit_scale":
        return ""
    return "image" if name.startswith("visual.") else "text"


def head_names(network: Any) -> list[str]:
    """Return the parameter names of both projections, the layers before them, both last blocks, and the temperature."""
    visual = network.visual
    last_text = f"transformer.resblocks.{len(network.transformer.resblocks) - 1}."
    heads = ["logit_scale", "text_projection", "ln_final.", last_text]
    if hasattr(visual, "attnpool"):
        heads += ["visual.attnpool.", f"visual.layer4.{len(visual.layer4) - 1}."]
    else:
        last = f"visual.transformer.resblocks.{len(visual.transformer.resblocks) - 1}."
        heads += ["visual.proj", "visual.ln_post.", last]
    return [name for name, _ in network.named_parameters() if name.startswith(tuple(heads))]


def encode_tokens(network: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Compute `CLIP.encode_text` for rows that are cut after the longest text: int64[n, length] → float[n, dim].

    Attention is causal and the embedding is read at the end-of-text token, so the positions after it change nothing.
    Leaving them out is several times faster than computing all 77.
    """
    length = tokens.shape[1]
    states = (network.token_embedding(tokens) + network.positional_embedding[:length]).permute(1, 0, 2)
    for block in network.transformer.resblocks:
        normed = block.ln_1(states)
        mask = block.attn_mask[:length, :length].to(normed.dtype)
        states = states + block.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        states = states + block.mlp(block.ln_2(states))
    states = network.ln_final(states.permute(1, 0, 2))
    ends: torch.Tensor = states[torch.arange(len(tokens), device=tokens.device), tokens.argmax(dim=-1)]
    embedded: torch.Tensor = ends @ network.text_projection
    return embedded


def scale_of(logit_scale: torch.Tensor) -> torch.Tensor:
    """Return the factor of the cosines: exp of the logit scale, at most 100."""
    return logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()


def contrastive_loss(
    images: torch.Tensor, texts: torch.Tensor, relevant: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Symmetric cross-entropy over cosines (Radford et al. 2021, figure 3); relevant texts share the target equally.

    If two images have the same text or class, each is relevant to the other's text. As negatives they would be pushed
    apart without reason. These are the targets of supervised contrastive learning (Khosla et al. 2020).

    Args:
        images: float32[n, dim], unit length.
        texts: float32[m, dim], unit length, m ≥ n. The first n belong to the images, in the same order; the others
            belong to no image and serve only as negatives.
        relevant: bool[n, m], whether a text is relevant to an image; True for the image's own.
        scale: the factor of the cosines, exp of the logit scale.
    """
    logits = scale * images @ texts.T
    targets = relevant.float()
    square = targets[:, : len(images)].T
    by_image = F.cross_entropy(logits, targets / targets.sum(1, keepdim=True))
    by_text = F.cross_entropy(logits[:, : len(images)].T, square / square.sum(1, keepdim=True))
    return (by_image + by_text) / 2


def backward_in_parts(
    image_parts: Sequence[Forward], text_parts: Sequence[Forward], loss_of: Callable[..., torch.Tensor]
) -> torch.Tensor:
    """Compute the gradient of the loss over all parts with the memory of one part; return the loss.

    A contrastive loss needs all embeddings at once. Plain gradient accumulation would compare each image only with the
    texts of its own part. Gradient caching (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory
    Limited Setup", §3) embeds all parts without gradients, computes the loss's gradient with respect to the embeddings,
    and then propagates it through the towers part by part.

    Args:
        image_parts: each returns the embeddings of one part of the images; called twice, or once for a single part.
        text_parts: the same for the texts.
        loss_of: returns the differentiable loss of all image and all text embeddings.
    """
    if len(image_parts) == 1:
        loss = loss_of(image_parts[0](), text_parts[0]())
        torch.autograd.backward(loss)
        return loss.detach()
    sides = (image_parts, text_parts)
    with torch.no_grad():
        embeddings = [[part() for part in side] for side in sides]
    leaves = [torch.cat(parts).requires_grad_() for parts in embeddings]
    loss = loss_of(*leaves)
    torch.autograd.backward(loss)
    for side, parts, leaf in zip(sides, embeddings, leaves, strict=True):
        assert leaf.grad is not None
        for part, gradient in zip(side, torch.split(leaf.grad, [len(part) for part in parts]), strict=True):
            again = part()
            if again.requires_grad:  # False for a frozen tower
                torch.autograd.backward(again, gradient)
    return loss.detach()


@contextmanager
def halved_momentum(network: Any) -> Iterator[None]:
    """Make the running statistics of batch norms count images once, although gradient caching passes them twice.

    Each pass moves the statistics by m' with (1 - m')² = 1 - m, so that both passes together move them by m.
    """
    norms = [(module, module.momentum) for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm, momentum in norms:
        norm.momentum = 1 - (1 - (momentum or 0.0)) ** 0.5
    try:
        yield
    finally:
        for norm, momentum in norms:
            norm.momentum = momentum


def interpolate(
    start: Mapping[str, torch.Tensor], tuned: Mapping[str, torch.Tensor], alpha: float
) -> dict[str, torch.Tensor]:
    """Return alpha · tuned + (1 - alpha) · start, tensor by tensor (WiSE-FT, Wortsman et al. 2022).

    The mixture keeps most of what fine-tuning teaches, and recovers what it makes a model forget. 0 and 1 are exact.
    """
    mixed = {}
    for name, tensor in tuned.items():
        before = start[name].to(tensor.device)
        if alpha in (0, 1) or not tensor.is_floating_point():
            mixed[name] = (before if alpha == 0 else tensor).clone()
        else:
            mixed[name] = alpha * tensor + (1 - alpha) * before
    return mixed
