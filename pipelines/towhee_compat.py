"""Makes Towhee 1.1.3 work with today's packages, in one place.

Towhee's last release (December 2023) reads `pkg_resources`, warns about it at every start, and imports torchvision,
whose compiled operators cannot load beside a CPU-only torch. CLIP needs none of those operators.
"""

from __future__ import annotations

import importlib
import importlib.util
import runpy
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any


def import_towhee() -> Any:
    """Import Towhee without its warnings, and mend two things in how it runs pipelines."""
    _quiet_known_warnings()
    import towhee
    from towhee.runtime import runtime_pipeline
    from towhee.runtime.nodes.node import Node

    runtime_pipeline.ThreadPoolExecutor = _ContextThreadPool
    # After a failed call, garbage collection could run this method while the same thread holds the lock that it
    # takes, and the pipeline would hang for ever. After a call that succeeded Towhee releases operators by itself.
    if hasattr(Node, "__del__"):
        del Node.__del__
    return towhee


def import_clip() -> Any:
    """Return the module `towhee.models.clip.clip` with the network classes.

    Its import silences every UserWarning of the process; that filter is removed again. It gets only the transforms
    of torchvision: the rest is not used, and takes longer to import than torch.
    """
    import_towhee()
    with warnings.catch_warnings(), _only_transforms_of_torchvision():
        from towhee.models.clip import clip
    return clip


def load_tokenizer_class() -> Any:
    """Return Towhee's `SimpleTokenizer` from its file: the package around it would import torch and torchvision."""
    path = Path(import_towhee().__file__).parent / "models" / "clip" / "simple_tokenizer.py"
    return runpy.run_path(str(path))["SimpleTokenizer"]


class _ContextThreadPool(ThreadPoolExecutor):
    """Runs each task in a copy of the context of the thread that submitted it: `engine.run` needs its variable."""

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(copy_context().run, task, *args, **kwargs)


def _quiet_known_warnings() -> None:
    """Silence the warnings that importing Towhee's old code raises, and no others."""
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(towhee|pkg_resources)(\..*)?")
    try:
        from pydantic.warnings import PydanticDeprecatedSince20
    except ImportError:
        return
    warnings.filterwarnings("ignore", category=PydanticDeprecatedSince20, module=r"towhee(\..*)?")


@contextmanager
def _only_transforms_of_torchvision() -> Iterator[None]:
    """Let `import torchvision` in the body find an empty package, whose submodules load as usual."""
    spec = importlib.util.find_spec("torchvision") if "torchvision" not in sys.modules else None
    if spec is None:
        yield
        return
    sys.modules["torchvision"] = importlib.util.module_from_spec(spec)  # not executed
    try:
        importlib.import_module("torchvision.transforms")
        yield
    finally:
        sys.modules.pop("torchvision", None)  # a later import gets the real package
