"""CLIP's contrastive loss with several right answers, and its exact gradient for batches that memory cannot hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

# "clipped to prevent scaling the logits by more than 100" (Radford et al. 2021, §2.5).
MAX_LOGIT_SCALE = math.log(100)

Forward = Callable[[], torch.Tensor]


def scale_of(logit_scale: torch.Tensor) -> torch.Tensor:
    """The factor of the cosines."""
    return logit_scale.clamp(max=MAX_LOGIT_SCALE).exp()


def contrastive_loss(
    images: torch.Tensor, texts: torch.Tensor, right: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Symmetric cross-entropy over cosines (Radford et al. 2021, figure 3); right answers share the target equally.

    Two images with the same text, or of the same class, are each other's right answers: as wrong ones they would be
    pushed apart for nothing (the targets of supervised contrastive learning, Khosla et al. 2020).

    Args:
        images: float32[n, dim], unit length.
        texts: float32[m, dim], unit length, m ≥ n: the first n belong to the images in their order, the others to
            none and are wrong answers only.
        right: bool[n, m], whether a text is right for an image; True for an image's own.
        scale: the factor of the cosines, exp of the logit scale.
    """
    logits = scale * images @ texts.T
    targets = right.float()
    square = targets[:, : len(images)].T
    by_image = F.cross_entropy(logits, targets / targets.sum(1, keepdim=True))
    by_text = F.cross_entropy(logits[:, : len(images)].T, square / square.sum(1, keepdim=True))
    return (by_image + by_text) / 2


def backward_in_parts(
    image_parts: Sequence[Forward], text_parts: Sequence[Forward], loss_of: Callable[..., torch.Tensor]
) -> torch.Tensor:
    """The gradient of the loss over all parts together, with the memory of one part. Returns the loss.

    A contrastive loss needs all embeddings at once, so that plain accumulation, part by part, would compare each
    image with the texts of its own part only. Gradient caching (Gao et al. 2021, "Scaling Deep Contrastive Learning
    Batch Size under Memory Limited Setup", §3) embeds all parts without gradients, takes the loss's gradient by the
    embeddings, and then carries it back through the towers part by part.

    Args:
        image_parts: each gives the embeddings of one part of the images; called once for one part, twice for more.
        text_parts: the same for the texts.
        loss_of: the loss, to be differentiated, of all image and all text embeddings.
    """
    if len(image_parts) == 1:
        loss = loss_of(image_parts[0](), text_parts[0]())
        loss.backward()
        return loss.detach()
    sides = (image_parts, text_parts)
    with torch.no_grad():
        embeddings = [[part() for part in side] for side in sides]
    leaves = [torch.cat(parts).requires_grad_() for parts in embeddings]
    loss = loss_of(*leaves)
    loss.backward()
    for side, parts, leaf in zip(sides, embeddings, leaves, strict=True):
        assert leaf.grad is not None
        for part, gradient in zip(side, leaf.grad.split([len(part) for part in parts]), strict=True):
            again = part()
            if again.requires_grad:  # not of a tower that stands still
                again.backward(gradient)
    return loss.detach()
