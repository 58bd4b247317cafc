"""Random changes of a batch of training images, and the exact preprocessing of the product."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ..models.spec import CLIP_MEAN, CLIP_STD

# Images that share one crop window: sizes differ between groups, so each group is resized by itself.
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


def preprocess(image: torch.Tensor, size: int) -> torch.Tensor:
    """As the product does: uint8 CHW, short side to `size` (bicubic, antialiased), centre crop."""
    height, width = image.shape[1:]
    scale = size / min(height, width)
    target = (max(size, round(height * scale)), max(size, round(width * scale)))
    resized = F.interpolate(image.unsqueeze(0), size=target, mode="bicubic", antialias=True)[0]
    top, left = (target[0] - size) // 2, (target[1] - size) // 2
    return normalise(resized[:, top : top + size, left : left + size].float() / 255)


def crop_and_flip(pixels: torch.Tensor, size: int, smallest: float = _SMALLEST_CROP) -> torch.Tensor:
    """Random square windows of uint8 NHWC images, of at least `smallest` of their side, half of them mirrored.

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
    return flip_half(torch.cat(groups))


def random_squares(count: int, side: int, smallest: float) -> torch.Tensor:
    """float32[count, 3], top, left and side of random squares of at least `smallest` of `side`, in pixels."""
    sides = side * torch.empty(count).uniform_(smallest, 1)
    corners = torch.rand(count, 2) * (side - sides).unsqueeze(1)
    return torch.cat([corners, sides.unsqueeze(1)], 1)


def crop(pixels: torch.Tensor, squares: torch.Tensor, size: int) -> torch.Tensor:
    """Each image's own square (top, left, side), resized to `size`; bicubic without antialiasing, for enlarging.

    uint8[n, h, h, 3] → float32[n, 3, size, size], 0..255.
    """
    side = pixels.shape[1]
    shares = squares[:, 2] / side
    middles = 2 * (squares[:, :2] / side) + shares.unsqueeze(1) - 1
    frames = torch.zeros(len(pixels), 2, 3)
    frames[:, 0, 0] = frames[:, 1, 1] = shares
    frames[:, 0, 2], frames[:, 1, 2] = middles[:, 1], middles[:, 0]
    grid = F.affine_grid(frames, [len(pixels), 3, size, size], align_corners=False)
    planes = pixels.permute(0, 3, 1, 2).float()
    sampled = F.grid_sample(planes, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return sampled.clamp_(0, 255)


def flip_half(batch: torch.Tensor) -> torch.Tensor:
    """Mirrors about half of the images, float32[n, 3, size, size]."""
    return torch.where((torch.rand(len(batch), 1, 1, 1) < 0.5).to(batch.device), batch.flip(3), batch)


def sharpen(batch: torch.Tensor, most: float) -> torch.Tensor:
    """Gives enlarged images, float32[n, 3, size, size], edges like those of reduced ones: a random unsharp mask.

    Training images are enlarged and blurred by that; those of users are reduced and sharp. A network that saw blurred
    ones only finds less among sharp ones.
    """
    blurred = F.avg_pool2d(batch, 3, 1, 1, count_include_pad=False)
    return torch.lerp(blurred, batch, 1 + most * torch.rand(len(batch), 1, 1, 1, device=batch.device))


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
