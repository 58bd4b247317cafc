"""Run a model with PyTorch; by default in half precision on GPUs and on CPUs with bf16 matrix instructions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ..errors import ModelError
from ..threads import usable_cores
from .networks import build_network, image_tower, text_tower
from .spec import ModelSpec

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class PyTorchRuntime:
    """Both towers on one device. The two may run at the same time; each serves one call at a time."""

    def __init__(
        self, spec: ModelSpec, path: Path, device: str = "auto", precision: str = "auto", threads: int = 0
    ) -> None:
        limit_threads(threads)
        self.name, self.device = "pytorch", choose_device(device)
        self.dtype = DTYPES.get(precision) or fast_dtype(self.device)
        self.precision = next(name for name, dtype in DTYPES.items() if dtype == self.dtype)
        # The intermediate results of a batch should fit into a CPU's cache; a GPU needs work for all of its cores.
        self.default_batch_size = 256 if self.device.startswith("cuda") else 32
        network = build_network(spec, path)
        has_images = spec.family != "text"
        self._images = image_tower(network, spec, self.dtype).to(self.device) if has_images else torch.nn.Identity()
        self._texts = text_tower(network, spec, self.dtype).to(self.device)
        self._image_lock, self._text_lock = threading.Lock(), threading.Lock()

    def embed_images(self, images: np.ndarray) -> np.ndarray:
        """uint8[n, size, size, 3] RGB → float32[n, dim], not normalised."""
        with self._image_lock:
            return _run(self._images, images, self.device)

    def embed_texts(self, tokens: np.ndarray) -> np.ndarray:
        """int64[n, length] → float32[n, dim], not normalised."""
        with self._text_lock:
            return _run(self._texts, tokens, self.device)

    def prepare_texts(self) -> None:
        """Do nothing: this runtime compiles nothing."""

    def calibrate(self, read_images: Callable[[], np.ndarray]) -> None:
        """Do nothing: this runtime has no int8."""


def limit_threads(threads: int) -> None:
    """Set PyTorch's number of threads; 0 keeps its own (OMP_NUM_THREADS), but at most the usable cores."""
    torch.set_num_threads(threads or min(torch.get_num_threads(), usable_cores()))


@torch.inference_mode()
def _run(tower: torch.nn.Module, items: np.ndarray, device: str) -> np.ndarray:
    embeddings: torch.Tensor = tower(torch.from_numpy(items).to(device))
    return embeddings.float().cpu().numpy()


def choose_device(device: str) -> str:
    """Return the device; 'auto' chooses the fastest kind on this machine.

    Raises:
        ModelError: there is no such device.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"no device '{device}' here: {str(error).splitlines()[0]}") from error
    return device


def fast_dtype(device: str) -> torch.dtype:
    """Return a half-precision type if the device multiplies matrices faster in it, else float32."""
    if device.startswith(("cuda", "mps")):
        return torch.float16
    if device == "cpu" and (torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()):
        return torch.bfloat16
    return torch.float32
