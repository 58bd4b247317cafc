"""Let the peers' environments import torchvision with a CPU-only torch, for which it cannot load its operators.

No peer uses the operators for CLIP; the image transforms are pure Python. A matching pair is imported as it is.
"""

from __future__ import annotations

from typing import Any

_held: list[Any] = []


def import_torchvision() -> None:
    """Import torchvision; if that fails, declare the two schemas that it misses and import it again."""
    import torch

    try:
        import torchvision
    except RuntimeError as error:
        if "nms does not exist" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _held.append(library)
        import torchvision  # noqa: F401


import_torchvision()
