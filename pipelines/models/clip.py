"""A loaded CLIP, which turns images and texts into embeddings, and the choice of the runtime that runs it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import InputError, ModelError
from ..forks import refuse_fork
from ..settings import Settings
from .model_id import make_model_id, resolve_name
from .registry import get_model, list_models
from .spec import ModelSpec
from .tokenizer import tokenize
from .weights import fingerprint, locate

RUNTIMES = ("auto", "pytorch", "openvino")


@lru_cache(maxsize=4)
def load_model(
    name: str | os.PathLike[str], weights: str = "", device: str = "auto", runtime: str = "auto", threads: int = 0
) -> ClipModel:
    """Load a model, once per process.

    Args:
        threads: for the CPU; 0 takes one per core that this process may use. PyTorch has one number for the process.

    Raises:
        InputError: the name is unknown, or the runtime does not run here.
        ModelError: the weights are missing, damaged or of another model, or the device does not exist.
    """
    return ClipModel(get_model(resolve_name(name)), weights, device, runtime, threads)


def model_of(settings: Settings) -> ClipModel:
    """Load the model that these settings name (see `resolve_model`). Raises as `load_model` does."""
    return load_model(settings.model, settings.weights, settings.device, settings.runtime, settings.threads)


class ClipModel:
    """Both towers of a CLIP on one device. Thread-safe."""

    def __init__(
        self, spec: ModelSpec, weights: str = "", device: str = "auto", runtime: str = "auto", threads: int = 0
    ) -> None:
        self.spec = spec
        path = locate(spec, weights)
        sha256 = fingerprint(path)
        _check_identity(spec, path, sha256)
        self.model_id = make_model_id(spec.name, sha256, spec.recipe)  # stored in every row of a collection
        self.runtime = _open_runtime(spec, path, sha256, runtime, device, threads)

    def __deepcopy__(self, memo: object) -> ClipModel:
        """Return this model itself: Towhee deep-copies what a pipeline's declaration holds."""
        return self

    @property
    def description(self) -> str:
        """Runtime, precision and device in words: 'openvino fp32 on cpu'."""
        return f"{self.runtime.name} {self.runtime.precision} on {self.runtime.device}"

    @property
    def default_batch_size(self) -> int:
        """Images per call for which this kind of device is fast and has enough memory."""
        return self.runtime.default_batch_size

    def embed_images(self, images: np.ndarray) -> np.ndarray:
        """uint8[n, size, size, 3] RGB → float32[n, dim], not normalised."""
        refuse_fork()
        return self.runtime.embed_images(images)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """n texts → float32[n, dim], not normalised. Texts of more than 77 tokens are truncated."""
        if not texts:
            return np.empty((0, self.spec.dim), np.float32)
        refuse_fork()
        tokens = tokenize(texts, self.spec.architecture.context_length)
        # Attention is causal and the embedding is read at the end of text, so the zeros after it change nothing.
        return self.runtime.embed_texts(tokens[:, : tokens.argmax(axis=1).max() + 1])


def _check_identity(spec: ModelSpec, path: Path, sha256: str) -> None:
    """Refuse a file that is known to hold another model: with equal sizes only the hash tells them apart."""
    for other in list_models():
        if other.weights.sha256 == sha256 and other.name != spec.name:
            raise ModelError(f"{path} holds {other.name}, not {spec.name}: use --model {other.name}")
    if spec.weights.path == path and spec.weights.sha256 not in ("", sha256):
        raise ModelError(f"{path} is not the file that model.json beside it was written for: train again")


class Runtime(Protocol):
    """Both towers of one model on one device. Thread-safe."""

    name: str
    device: str
    precision: str
    default_batch_size: int

    def embed_images(self, images: np.ndarray) -> np.ndarray:
        """uint8[n, size, size, 3] RGB → float32[n, dim], not normalised."""
        ...

    def embed_texts(self, tokens: np.ndarray) -> np.ndarray:
        """int64[n, length], each row with its end of text → float32[n, dim], not normalised."""
        ...


def choose_runtime(runtime: str = "auto", device: str = "auto") -> str:
    """Return 'pytorch' or 'openvino': by default OpenVINO on CPUs, where it is faster, and PyTorch elsewhere.

    Raises:
        InputError: the runtime is unknown or does not run here.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"there is no runtime '{runtime}'; known runtimes: {', '.join(RUNTIMES)}")
    installed = importlib.util.find_spec("openvino") is not None
    on_cpu = device == "cpu" or (device == "auto" and not _gpu_possible())
    if runtime == "auto":
        return "openvino" if installed and on_cpu else "pytorch"
    if runtime == "openvino" and not installed:
        raise InputError("the runtime 'openvino' is not installed: pip install openvino")
    if runtime == "openvino" and device not in ("auto", "cpu"):
        raise InputError(f"the runtime 'openvino' runs on the CPU, not on '{device}': use --runtime pytorch")
    return runtime


def _open_runtime(spec: ModelSpec, path: Path, sha256: str, runtime: str, device: str, threads: int) -> Runtime:
    if choose_runtime(runtime, device) == "openvino":
        from .openvino_runtime import OpenVinoRuntime

        try:
            return OpenVinoRuntime(spec, path, sha256, threads)
        except OSError as error:
            problem = f"the folder for converted models cannot be written ({error})"
            remedy = "name another one by IMAGE_SEARCH_CACHE"
            if runtime == "openvino":
                raise ModelError(f"{problem}: {remedy}, or use --runtime pytorch") from error
            print(f"{problem}; PyTorch runs the model, which is slower: {remedy}", file=sys.stderr)
    from .pytorch_runtime import PyTorchRuntime

    return PyTorchRuntime(spec, path, device, threads=threads)


def _gpu_possible() -> bool:
    """Return whether to ask PyTorch for a GPU: that question costs its import, more than a second."""
    if version("torch").endswith("+cpu"):
        return False
    return (
        sys.platform == "darwin"
        or shutil.which("nvidia-smi") is not None
        or os.path.exists("/proc/driver/nvidia")
        or os.path.exists("/dev/kfd")  # AMD
    )
