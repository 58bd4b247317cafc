"""Training images as tensors: the product's preprocessing, random squares of an image, sharpening."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from pipelines.images.preprocess import resize_and_crop
from pipelines.models.spec import CLIP_MEAN, CLIP_STD
from pipelines.training.data_loader import crop_and_flip, jitter


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """Normalise RGB in 0..1 by CLIP's mean and deviation."""
    mean = torch.tensor(CLIP_MEAN).view(3, 1, 1)
    std = torch.tensor(CLIP_STD).view(3, 1, 1)
    return (pixels - mean) / std


def to_bytes(batch: torch.Tensor) -> torch.Tensor:
    """Invert `normalise`: float32[n, 3, h, w] → uint8[n, h, w, 3]."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (CLIP_MEAN, CLIP_STD))
    return ((batch * std + mean) * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1)


def preprocess(image: np.ndarray, size: int) -> torch.Tensor:
    """uint8[h, w, 3] RGB → float32[3, size, size], by the product's own resize and crop."""
    return normalise(torch.from_numpy(resize_and_crop(image, size)).permute(2, 0, 1).float() / 255)


def random_squares(count: int, side: int, smallest: float) -> torch.Tensor:
    """Return top, left and side of random squares in pixels, float32[count, 3], of at least `smallest` · `side`."""
    sides = side * torch.empty(count).uniform_(smallest, 1)
    corners = torch.rand(count, 2) * (side - sides).unsqueeze(1)
    return torch.cat([corners, sides.unsqueeze(1)], 1)


def crop(pixels: torch.Tensor, squares: torch.Tensor, size: int) -> torch.Tensor:
    """Cut each image's own square (top, left, side) and resize it to `size`; bicubic without antialiasing, to enlarge.

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


def sharpen(batch: torch.Tensor, most: float) -> torch.Tensor:
    """Sharpen enlarged images, float32[n, 3, size, size], by a random unsharp mask of strength up to `most`.

    Training images are enlarged, which blurs them; users' images are reduced and sharp. A network trained only on
    blurred images finds less among sharp ones.
    """
    blurred = F.avg_pool2d(batch, 3, 1, 1, count_include_pad=False)
    return torch.lerp(blurred, batch, 1 + most * torch.rand(len(batch), 1, 1, 1, device=batch.device))


def augment(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Crop, mirror and recolour at random: uint8[n, h, h, 3] → normalised float32[n, 3, size, size]."""
    return normalise(jitter(crop_and_flip(pixels, size) / 255))
