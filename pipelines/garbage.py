"""Make full garbage collections, which halt every thread, skip the objects of modules."""

from __future__ import annotations

import gc
import sys

# Minimum number of new modules since the last time that are worth skipping. PyTorch has 1,300, and the page 900.
_MANY = 50


class _Freezer:
    """A callback that `gc` calls at the start and the stop of each collection."""

    def __init__(self) -> None:
        self._modules = 0

    def __call__(self, phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] == 2 and len(sys.modules) >= self._modules + _MANY:
            self._modules = len(sys.modules)
            gc.freeze()


def pass_over_modules() -> None:
    """Make a full collection that finds many new modules exempt all objects of that time from later collections.

    PyTorch and the page create 450,000 objects, and hardly one of them ever becomes garbage: full collections took
    215 ms of every 2 s with 50 users. Reference counts still free the exempted objects.
    """
    gc.callbacks.append(_Freezer())
