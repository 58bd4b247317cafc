"""The choice of the runtime for both towers: PyTorch, OpenVINO, or a server that speaks Triton's protocol."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import InputError, ModelError
from .spec import ModelSpec

RUNTIMES = ("auto", "pytorch", "openvino", "triton")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")


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
        """int64[n, length] tokens → float32[n, dim], not normalised."""
        ...

    def prepare_texts(self) -> None:
        """See `ClipModel.prepare_texts`."""
        ...

    def calibrate(self, read_images: Callable[[], np.ndarray]) -> None:
        """See `ClipModel.calibrate`."""
        ...


def choose_runtime(runtime: str = "auto", device: str = "auto", model_url: str = "") -> str:
    """Return 'pytorch', 'openvino' or 'triton'.

    'auto' takes the server if `model_url` names one; else OpenVINO on CPUs, where it is faster, and PyTorch elsewhere.

    Raises:
        InputError: the runtime is unknown or does not run here.
    """
    if runtime not in RUNTIMES:
        raise InputError(f"there is no runtime '{runtime}'; known runtimes: {', '.join(RUNTIMES)}")
    if runtime == "triton" and not model_url:
        raise InputError("--runtime triton needs the address of the server: --model-url http://host:8000")
    if model_url and runtime == "auto":
        return "triton"
    installed = importlib.util.find_spec("openvino") is not None
    on_cpu = device == "cpu" or (device == "auto" and not _gpu_possible())
    if runtime == "auto":
        return "openvino" if installed and on_cpu else "pytorch"
    if runtime == "openvino" and not installed:
        raise InputError("the runtime 'openvino' is not installed: pip install openvino")
    if runtime == "openvino" and device not in ("auto", "cpu"):
        raise InputError(f"the runtime 'openvino' runs on the CPU, not on '{device}': use --runtime pytorch")
    return runtime


def open_runtime(
    spec: ModelSpec, path: Path, sha256: str, runtime: str, device: str, threads: int, precision: str
) -> Runtime:
    """Open PyTorch or OpenVINO with the weights at `path`.

    Raises:
        InputError: the precision is unknown, or the runtime does not run here, or not in this precision.
        ModelError: the weights are damaged, the device does not exist, or a folder cannot be written.
    """
    if precision not in PRECISIONS:
        raise InputError(f"there is no precision '{precision}'; known are {', '.join(PRECISIONS)}")
    if choose_runtime(runtime, device) == "openvino":
        from .openvino_runtime import OpenVinoRuntime

        try:
            return OpenVinoRuntime(spec, path, sha256, threads, precision)
        except InputError:
            if runtime == "openvino" or precision == "int8":
                raise
        except OSError as error:
            problem = f"the folder for converted models cannot be written ({error})"
            remedy = "name another one by IMAGE_SEARCH_CACHE"
            if runtime == "openvino":
                raise ModelError(f"{problem}: {remedy}, or use --runtime pytorch") from error
            print(f"{problem}; PyTorch runs the model, which is slower: {remedy}", file=sys.stderr)
    if precision == "int8":
        raise InputError("int8 is computed by OpenVINO on the CPU: leave out --runtime and --device")
    from .pytorch_runtime import PyTorchRuntime

    return PyTorchRuntime(spec, path, device, precision, threads)


def _gpu_possible() -> bool:
    """Return whether PyTorch might find a GPU. To import PyTorch and call it would take more than a second."""
    if version("torch").endswith("+cpu"):
        return False
    return (
        sys.platform == "darwin"
        or shutil.which("nvidia-smi") is not None
        or os.path.exists("/proc/driver/nvidia")
        or os.path.exists("/dev/kfd")  # AMD
    )
