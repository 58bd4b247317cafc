"""Import torchvision alongside a CPU-only torch. The product itself needs only torchvision's transforms."""

from __future__ import annotations

from typing import Any

# Kept for the life of the process: torch drops the schemas when the Library object is collected.
_declared_schemas: list[Any] = []


def import_torchvision() -> Any:
    """Import torchvision, even if its compiled operators do not match the installed torch.

    Its image transforms are pure Python; only the schemas of `nms` and `qnms` must exist for the import to succeed.
    """
    import torch

    try:
        import torchvision
    except RuntimeError as error:
        if "nms does not exist" not in str(error):
            raise
        new_library: Any = torch.library.Library
        library = new_library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared_schemas.append(library)
        import torchvision
    return torchvision
