"""Random changes of a batch of training pictures, and the exact preprocessing of the product."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ..models.registry import CLIP_MEAN, CLIP_STD

# Pictures that share one crop window: sizes differ between groups, so each group is resized by itself.
_GROUP = 32
_SMALLEST_CROP = 2 / 3
_GREY_SHARE = 0.05


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """0..1 RGB to what CLIP expects."""
    mean = torch.tensor(CLIP_MEAN).view(3, 1, 1)
    std = torch.tensor(CLIP_STD).view(3, 1, 1)
    return (pixels - mean) / std


def to_bytes(batch: torch.Tensor) -> torch.Tensor:
    """The inverse of `normalise`: uint8 NHWC."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return ((batch * std + mean) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1)


def preprocess(picture: torch.Tensor, size: int) -> torch.Tensor:
    """As the product does: uint8 CHW, short side to `size` (bicubic, antialiased), centre crop."""
    height, width = picture.shape[1:]
    scale = size / min(height, width)
    target = (max(size, round(height * scale)), max(size, round(width * scale)))
    resized = F.interpolate(picture.unsqueeze(0), size=target, mode="bicubic", antialias=True)[0]
    top, left = (target[0] - size) // 2, (target[1] - size) // 2
    return normalise(resized[:, top : top + size, left : left + size].float() / 255)


def crop_and_flip(pixels: torch.Tensor, size: int, smallest: float = _SMALLEST_CROP) -> torch.Tensor:
    """Random square windows of uint8 NHWC pictures, of at least `smallest` of their side, half of them mirrored.

    Resized to `size`; 0..255.
    """
    stored = pixels.shape[1]
    groups = []
    for group in pixels.split(_GROUP):
        window = int(torch.randint(int(smallest * stored), stored + 1, ()))
        top, left = torch.randint(0, stored - window + 1, (2,)).tolist()
        part = group[:, top : top + window, left : left + window].permute(0, 3, 1, 2).float()
        if window != size:
            part = F.interpolate(part, size=(size, size), mode="bilinear", antialias=True)
        groups.append(part)
    batch = torch.cat(groups)
    return torch.where((torch.rand(len(batch), 1, 1, 1) < 0.5).to(batch.device), batch.flip(3), batch)


def jitter(batch: torch.Tensor, strength: float = 1.0, grey_share: float = _GREY_SHARE) -> torch.Tensor:
    """Random brightness, contrast, saturation and tint of float32[n, 3, size, size] in 0..1; some become grey."""

    def about_one(most: float, channels: int = 1) -> torch.Tensor:
        return torch.empty(len(batch), channels, 1, 1).uniform_(1 - strength * most, 1 + strength * most)

    grey = batch.mean(1, keepdim=True)
    saturation = about_one(0.3) * (torch.rand(len(batch), 1, 1, 1) >= grey_share)
    batch = grey + (batch - grey) * saturation.to(batch.device)
    middle = batch.mean((1, 2, 3), keepdim=True)
    batch = middle + (batch - middle) * about_one(0.3).to(batch.device)
    brightness = about_one(0.25) * about_one(0.07, channels=3)
    return (batch * brightness.to(batch.device)).clamp_(0, 1)


def augment(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Random crop, mirror, colours: a normalised float batch."""
    return normalise(jitter(crop_and_flip(pixels, size) / 255))
