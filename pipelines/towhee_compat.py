"""Makes Towhee 1.1.3 importable on today's packages, in one place.

Towhee's last release (December 2023) reads `pkg_resources`, warns about it at every start, and imports
torchvision, whose compiled operators cannot load beside a CPU-only torch. CLIP needs none of those operators.
"""

from __future__ import annotations

import warnings
from types import ModuleType
from typing import Any

# Held for the life of the process: torch drops the schemas when the Library object is collected.
_declared_schemas: list[Any] = []


def quiet_known_warnings() -> None:
    """Silences the warnings that Towhee's own old code raises on import, and no others."""
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(towhee|pkg_resources)(\..*)?")
    try:
        from pydantic.warnings import PydanticDeprecatedSince20
    except ImportError:
        return
    warnings.filterwarnings("ignore", category=PydanticDeprecatedSince20, module=r"towhee(\..*)?")


def import_torchvision() -> ModuleType:
    """Imports torchvision, also where its compiled operators do not match the installed torch.

    Its image transforms are pure Python; only the schemas of `nms` and `qnms` must exist for the import to pass.
    """
    import torch

    try:
        import torchvision
    except RuntimeError as error:
        if "nms does not exist" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _declared_schemas.append(library)
        import torchvision
    return torchvision


def import_clip() -> ModuleType:
    """Returns the module `towhee.models.clip.clip` with the network classes.

    Its import silences every UserWarning of the process; that filter is taken back.
    """
    quiet_known_warnings()
    import_torchvision()
    with warnings.catch_warnings():
        from towhee.models.clip import clip
    return clip
