"""What runs a model: PyTorch or OpenVINO behind one small interface, and which of them runs it here."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import InputError
from .registry import ModelSpec

RUNTIMES = ("auto", "pytorch", "openvino")


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
        """int64[n, length], none cut before its end of text → float32[n, dim], not normalised."""
        ...


def choose_runtime(runtime: str = "auto", device: str = "auto") -> str:
    """'pytorch' or 'openvino': OpenVINO on CPUs, where it is the faster one, PyTorch elsewhere.

    Raises:
        InputError: an unknown name, or one that cannot run here.
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


def open_runtime(spec: ModelSpec, path: Path, fingerprint: str, runtime: str, device: str) -> Runtime:
    """Loads a model's weights into the chosen runtime.

    Raises:
        InputError: no such runtime here.
        ModelError: the file does not hold this model, or there is no such device.
    """
    if choose_runtime(runtime, device) == "openvino":
        from .openvino_runtime import OpenVinoRuntime

        return OpenVinoRuntime(spec, path, fingerprint)
    from .pytorch_runtime import PyTorchRuntime

    return PyTorchRuntime(spec, path, device)


def _gpu_possible() -> bool:
    """Whether it is worth asking PyTorch for a GPU: that question alone costs its import, over a second."""
    if version("torch").endswith("+cpu"):
        return False
    return (
        sys.platform == "darwin"
        or shutil.which("nvidia-smi") is not None
        or os.path.exists("/proc/driver/nvidia")
        or os.path.exists("/dev/kfd")  # AMD
    )
