"""The models' image preprocessing: antialiased resize and centre crop, within one level of PIL's."""

from __future__ import annotations

import numpy as np

from .fit import Fit

# Beyond this aspect ratio the crop is cut out before resizing: 1×10,000 pixels would become 224×2,240,000.
MAX_ASPECT = 8


def fit_image(image: np.ndarray, fit: Fit, original: tuple[int, int] | None = None) -> np.ndarray:
    """Turn an image into the input of a model. Arguments and result are those of `resize_and_crop`."""
    if fit.squash:
        return np.ascontiguousarray(_resize(image, fit.size, fit.size, fit.bilinear))
    return resize_and_crop(image, fit.size, original, fit.bilinear)


def resize_and_crop(
    image: np.ndarray, size: int, original: tuple[int, int] | None = None, bilinear: bool = False
) -> np.ndarray:
    """Scales the short side to `size` and cuts out the square in the middle.

    Args:
        image: uint8[height, width, 3], RGB.
        size: edge of the result, in pixels.
        original: (width, height) before a JPEG was shrunk; sizes are rounded as for the full image.

    Returns:
        uint8[size, size, 3], C-contiguous.
    """
    height, width = image.shape[:2]
    full_width, full_height = original or (width, height)
    short = min(full_width, full_height)
    # Computed as in torchvision's Resize and CenterCrop, which CLIP's reference code uses.
    new_width, new_height = int(size * full_width / short), int(size * full_height / short)
    left, top = round((new_width - size) / 2), round((new_height - size) / 2)
    if max(new_width, new_height) > MAX_ASPECT * size:
        return _resize_box(image, size, left * width / new_width, top * height / new_height, bilinear)
    image = _resize(image, new_width, new_height, bilinear)
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def _resize(image: np.ndarray, width: int, height: int, bilinear: bool) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    # OpenCV has no antialiased bicubic resize; torch's is within one level of PIL's and releases the GIL. This is the
    # operator behind `functional.interpolate`, called directly to write interleaved channels, as in the image. The
    # function itself returns planar channels, and interleaving them takes half as long as the resize.
    import torch

    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])[None]).permute(0, 3, 1, 2)
    resized = torch.empty((1, height, width, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    aten = torch.ops.aten
    resize = aten._upsample_bilinear2d_aa if bilinear else aten._upsample_bicubic2d_aa
    resize.out(pixels, (height, width), False, None, None, out=resized)
    return resized.permute(0, 2, 3, 1)[0].numpy()


def _resize_box(image: np.ndarray, size: int, left: float, top: float, bilinear: bool) -> np.ndarray:
    from PIL import Image

    height, width = image.shape[:2]
    edge = min(width, height)
    box = (left, top, min(left + edge, width), min(top + edge, height))
    how = Image.Resampling.BILINEAR if bilinear else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(image).resize((size, size), how, box=box))
