"""Make Towhee 1.1.3 work with today's packages, without installing others.

Towhee's last release (December 2023) imports `pkg_resources`, which setuptools 82 dropped, and torchvision, whose
compiled operators cannot load together with a CPU-only torch. CLIP needs none of those operators.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pkgutil import extend_path
from types import ModuleType
from typing import Any

from .deferred import deferred
from .errors import InputError


def import_towhee() -> Any:
    """Import Towhee without its warnings, and fix one fault in how it runs pipelines."""
    _quiet_known_warnings()
    # Only functions that `_close_hub` refuses use the hub, which takes as long to import as the rest of Towhee.
    with _pkg_resources(), deferred({"towhee.hub": ["get_operator", "get_pipeline"]}):
        import towhee
    from towhee.runtime.nodes.node import Node

    _close_hub(towhee)
    # After a failed call, garbage collection could run this method while the same thread holds the lock that the
    # method takes. The pipeline would hang for ever. After a successful call Towhee releases operators by itself.
    if hasattr(Node, "__del__"):
        del Node.__del__
    return towhee


@contextmanager
def _pkg_resources() -> Iterator[None]:
    """Make `import pkg_resources` in the body find what Towhee takes from it, whichever setuptools is installed.

    Towhee's other uses of it are in functions that `_close_hub` refuses.
    """
    import packaging.version

    def declare_namespace(name: str) -> None:
        """Let a package be spread over several folders."""
        package = sys.modules[name]
        package.__path__ = extend_path(package.__path__, name)

    installed = sys.modules.get("pkg_resources")
    sys.modules["pkg_resources"] = stand_in = ModuleType("pkg_resources")
    vars(stand_in).update(declare_namespace=declare_namespace, packaging=packaging)
    try:
        yield
    finally:
        del sys.modules["pkg_resources"]
        if installed is not None:
            sys.modules["pkg_resources"] = installed


# Replacements for the operators that Towhee's public pipelines take from its hub.
_INSTEAD = {
    "image-text-embedding/taiyi": "ops.image_text_embedding.cn_clip(model_name='ViT-B-16', modality=…)",
    "image-text-embedding/blip": "ops.image_text_embedding.clip('clip_vit_base_patch32_laion2b', modality=…)",
    "ann-insert/faiss-index": "ops.ann_insert.milvus_client(uri='./search.db', collection_name=…)",
    "ann-search/faiss-index": "ops.ann_search.milvus_client(uri='./search.db', collection_name=…)",
}


def _close_hub(towhee: Any) -> None:
    """Refuse, with one-line errors, everything that Towhee fetches from its hub or installs by pip at run time."""
    from towhee.runtime import pipeline_loader
    from towhee.runtime.operator_manager.operator_loader import OperatorLoader

    def refuse_operator(self: Any, function: str, *_: Any) -> None:
        instead = f": write {_INSTEAD[function]}" if function in _INSTEAD else ""
        name = function.replace("-", "_").replace("/", ".")
        raise InputError(f"ops.{name} is no operator of this program, and Towhee's hub installs packages{instead}")

    def refuse_pipeline(name: str, *_: Any, **__: Any) -> None:
        instead = "load_config('text_image_embedding'), or declare it with pipe.input(…)"
        raise InputError(f"{name} is a pipeline of Towhee's hub, which installs packages: write {instead}")

    def refuse(*_: Any, **__: Any) -> None:
        raise InputError("Towhee would install Triton's packages: run pipelines in this process, as pipe.output() does")

    OperatorLoader._load_operator_from_hub = refuse_operator
    pipeline_loader.get_pipeline = refuse_pipeline
    for name in ("build_docker_image", "triton_client"):
        if hasattr(towhee, name):
            setattr(towhee, name, refuse)


def import_clip() -> Any:
    """Return the module `towhee.models.clip.clip` with the network classes.

    Its import silences every UserWarning of the process; that filter is removed again. The module gets only the
    transforms of torchvision: it does not use the rest, which takes longer to import than torch.
    """
    import_towhee()
    with warnings.catch_warnings(), _pkg_resources(), _only_transforms_of_torchvision():
        from towhee.models.clip import clip
    return clip


def _quiet_known_warnings() -> None:
    """Silence the warnings that importing Towhee's old code raises, and no others."""
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"towhee(\..*)?")
    try:
        from pydantic.warnings import PydanticDeprecatedSince20
    except ImportError:
        return
    warnings.filterwarnings("ignore", category=PydanticDeprecatedSince20, module=r"towhee(\..*)?")


@contextmanager
def _only_transforms_of_torchvision() -> Iterator[None]:
    """Make `import torchvision` in the body find an empty package, whose submodules load as usual."""
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
