"""CLIP's image preprocessing: antialiased bicubic resize and centre crop, within one level of PIL's."""

from __future__ import annotations

import numpy as np

# Beyond this aspect ratio the crop is cut out before resizing: 1×10,000 pixels would become 224×2,240,000.
MAX_ASPECT = 8


def resize_and_crop(image: np.ndarray, size: int, original: tuple[int, int] | None = None) -> np.ndarray:
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
    # As computed by torchvision's Resize and CenterCrop, which CLIP's reference uses.
    new_width, new_height = int(size * full_width / short), int(size * full_height / short)
    left, top = round((new_width - size) / 2), round((new_height - size) / 2)
    if max(new_width, new_height) > MAX_ASPECT * size:
        return _resize_box(image, size, left * width / new_width, top * height / new_height)
    if (height, width) != (new_height, new_width):
        image = _resize(image, new_width, new_height)
    return np.ascontiguousarray(image[top : top + size, left : left + size])


def _resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    # OpenCV has no antialiased bicubic resize; torch's is within one level of PIL's and releases the GIL. This is the
    # operator behind `functional.interpolate`, called directly to write channels interleaved, as the image has them:
    # interpolate returns them one after the other, and interleaving takes half as long as the resize.
    import torch

    pixels = torch.from_numpy(np.require(image, requirements=["C", "W"])[None]).permute(0, 3, 1, 2)
    resized = torch.empty((1, height, width, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    torch.ops.aten._upsample_bicubic2d_aa.out(pixels, (height, width), False, None, None, out=resized)
    return resized.permute(0, 2, 3, 1)[0].numpy()


def _resize_box(image: np.ndarray, size: int, left: float, top: float) -> np.ndarray:
    from PIL import Image

    height, width = image.shape[:2]
    edge = min(width, height)
    box = (left, top, min(left + edge, width), min(top + edge, height))
    return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, box=box))
