"""Loading what the first picture would wait for, while something else is waited for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from ..images.preprocess import resize_and_crop

if TYPE_CHECKING:
    from ..models.clip import ClipModel


def warm_up(model: ClipModel) -> None:
    """Loads the resize (it imports PyTorch, a second) and the picture tower side by side, and returns at once.

    What goes wrong here goes wrong again at the first picture, and is reported there.
    """
    size = model.spec.image_size
    blank = np.zeros((size, size, 3), np.uint8)
    pool = ThreadPoolExecutor(2, thread_name_prefix="warm-up")
    pool.submit(resize_and_crop, blank, size // 2)
    pool.submit(model.embed_images, blank[None])
    pool.shutdown(wait=False)
