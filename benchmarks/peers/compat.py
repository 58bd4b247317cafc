"""Let the peers' environments import torchvision beside a CPU-only torch, whose operators it cannot load.

No peer uses the operators for CLIP; the image transforms are pure Python. With a matching pair this does nothing.
"""

from __future__ import annotations

from typing import Any

_held: list[Any] = []


def import_torchvision() -> None:
    """Import torchvision after declaring the two schemas without which the import fails."""
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
