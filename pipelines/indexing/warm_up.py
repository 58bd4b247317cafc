"""Loading what the first image would wait for, while something else is waited for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from ..images.decode import decode

if TYPE_CHECKING:
    from ..models.clip import ClipModel

# A PPM of 2 × 2 black pixels.
SMALL_IMAGE = b"P6 2 2 255\n" + bytes(12)


def warm_up(model: ClipModel) -> None:
    """Loads the libraries that decode and resize (PyTorch, a second) and the image tower; returns at once.

    What goes wrong here goes wrong again at the first image, and is reported there. PyTorch's import puts the
    filters of warnings back as it found them: Towhee, for which some are set, has to be imported by now.
    """
    size = model.spec.image_size
    pool = ThreadPoolExecutor(2, thread_name_prefix="warm-up")
    pool.submit(decode, SMALL_IMAGE, 1)
    pool.submit(model.embed_images, np.zeros((1, size, size, 3), np.uint8))
    pool.shutdown(wait=False)
