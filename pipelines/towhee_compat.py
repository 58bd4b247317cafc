"""Makes Towhee 1.1.3 importable on today's packages, in one place.

Towhee's last release (December 2023) reads `pkg_resources`, warns about it at every start, and imports
torchvision, whose compiled operators cannot load beside a CPU-only torch. CLIP needs none of those operators.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
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


def import_towhee() -> Any:
    """Import Towhee without its warnings, and mend two things in how it runs pipelines."""
    quiet_known_warnings()
    import towhee
    from towhee.runtime import runtime_pipeline
    from towhee.runtime.nodes.node import Node

    runtime_pipeline.ThreadPoolExecutor = _ContextThreadPool
    # After a failed call, garbage collection could run this method while the same thread holds the lock that it
    # takes, and the pipeline would hang for ever. After a call that succeeded Towhee releases operators by itself.
    if hasattr(Node, "__del__"):
        del Node.__del__
    return towhee


class _ContextThreadPool(ThreadPoolExecutor):
    """Runs each task in a copy of the context of the thread that submitted it: `engine.run` needs its variable."""

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(copy_context().run, task, *args, **kwargs)


def import_torchvision() -> Any:
    """Imports torchvision, also where its compiled operators do not match the installed torch.

    Its image transforms are pure Python; only the schemas of `nms` and `qnms` must exist for the import to pass.
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


def import_clip() -> Any:
    """Returns the module `towhee.models.clip.clip` with the network classes.

    Its import silences every UserWarning of the process; that filter is taken back. Of torchvision it gets the
    transforms alone: the whole package takes longer to import than torch, and all else in it goes unused.
    """
    quiet_known_warnings()
    with warnings.catch_warnings(), _only_transforms_of_torchvision():
        from towhee.models.clip import clip
    return clip


def load_tokenizer_class() -> Any:
    """Returns Towhee's `SimpleTokenizer` from its own file: the package around it imports torch and torchvision."""
    quiet_known_warnings()
    folder = importlib.util.find_spec("towhee.models")
    assert folder is not None
    assert folder.submodule_search_locations is not None
    path = os.path.join(folder.submodule_search_locations[0], "clip", "simple_tokenizer.py")
    spec = importlib.util.spec_from_file_location("towhee_simple_tokenizer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer


@contextmanager
def _only_transforms_of_torchvision() -> Iterator[None]:
    """While this lasts `import torchvision` finds a package that runs no code of its own; its parts load as ever."""
    found = importlib.util.find_spec("torchvision") if "torchvision" not in sys.modules else None
    if found is None:
        yield
        return
    package = importlib.util.module_from_spec(found)  # not executed
    sys.modules["torchvision"] = package
    try:
        importlib.import_module("torchvision.transforms")
        yield
    finally:
        sys.modules.pop("torchvision", None)  # a later import gets the real one
