"""One tower in OpenVINO, converted with PyTorch once and then loaded without it.

The cache folder holds converted towers under a hash of the weights' fingerprint, the recipe and the versions of both
libraries. Beside each tower is PyTorch's output for a known input. A tower is loaded only if it reproduces that output;
otherwise it is converted again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..deferred import deferred
from ..errors import ModelError
from ..settings import cache_dir
from .probe import MIN_COSINE, least_cosine, probe_of
from .spec import ModelSpec

# On import, OpenVINO reports its use to a web service from a forked process, unless this package is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
with deferred({"openvino.tools.ovc": ["convert_model"]}):
    import openvino as openvino  # other modules import it from here

if TYPE_CHECKING:
    import torch

# Increase this when a change to the towers changes the converted models.
CONVERSION = 3


class Tower:
    """One tower: converted, checked and compiled. Its input and output are those of `Runtime`."""

    def __init__(
        self, core: Any, kind: str, hints: dict[str, str], spec: ModelSpec, weights: Path, fingerprint: str
    ) -> None:
        self.core, self._kind, self.spec, self._weights = core, kind, spec, weights
        self.hints = hints
        self.probe = probe_of(kind, spec)
        versions = f"{CONVERSION} {fingerprint} {spec.recipe} {openvino.__version__} {version('torch')}"
        name = hashlib.sha256(f"{kind} {versions}".encode()).hexdigest()[:20]
        self.file = cache_dir() / "converted" / f"{Path(spec.name).name}-{kind}-{name}.xml"
        self._lock = threading.Lock()
        self._compiled: Any = None

    def is_converted(self) -> bool:
        """Return whether the cache holds this tower."""
        return os.path.isfile(self.file)  # also False if the folder cannot be entered

    def __call__(self, items: np.ndarray) -> np.ndarray:
        with self._lock:
            return np.array(self._ready()(items)[0])

    def prepare(self) -> None:
        """Compile the tower before its first call, if it is already converted."""
        with self._lock:
            if self.is_converted():
                self._ready()

    def _ready(self) -> Any:
        if self._compiled is None:
            self._compiled = self._load_or_convert()
        return self._compiled

    def _load_or_convert(self) -> Any:
        compiled = self._load() if self.is_converted() else None
        if compiled is None:
            self.convert(build(self.spec, self._weights))
            compiled = self._load()
        if compiled is None:
            raise ModelError(f"OpenVINO and PyTorch disagree about {self.spec.name}: use --runtime pytorch")
        return compiled

    def _load(self) -> Any:
        """Compile the tower; None if its file is damaged or does not reproduce PyTorch's output."""
        try:
            expected = np.load(self.file.with_suffix(".npy"), allow_pickle=False)
            compiled = self._compile_file()
            found = compiled(self.probe)[0]
        except (RuntimeError, OSError, ValueError, EOFError):
            return None
        return compiled if least_cosine(found, expected) >= MIN_COSINE else None

    def _compile_file(self) -> Any:
        """Compile the converted tower, or load the compiled text tower from OpenVINO's cache on the disk.

        The cache halves the time to the first hit. It holds no weights and takes less than a megabyte.
        """
        if self._kind == "text":
            kept = {"CACHE_DIR": str(cache_dir() / "compiled"), "CACHE_MODE": "OPTIMIZE_SIZE"}
            with contextlib.suppress(RuntimeError):  # the folder cannot be written
                return self.core.compile_model(self.file, "CPU", self.hints | kept)
        return self.compile(self.core.read_model(self.file))

    def load_model(self) -> Any:
        """Return the converted tower, not yet compiled."""
        if not self.is_converted():
            self.convert(build(self.spec, self._weights))
        return self.core.read_model(self.file)

    def compile(self, model: Any) -> Any:
        """Compile a model with this tower's settings."""
        return self.core.compile_model(model, "CPU", self.hints)

    def convert(self, network: Any) -> None:
        """Convert this network's tower and store it in the cache."""
        import torch

        from . import networks

        is_image = self._kind == "image"
        tower = (networks.image_tower if is_image else networks.text_tower)(network, self.spec)
        with torch.inference_mode():
            example = torch.from_numpy(self.probe)
            expected = tower(example).numpy()
            model = from_torch(tower, example)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_name(f"{os.getpid()}-{self.file.name}")
        part.touch()  # OpenVINO's own error does not say that the folder cannot be written
        openvino.save_model(model, part, compress_to_fp16=False)
        np.save(part.with_suffix(".npy"), expected)
        for suffix in (".bin", ".npy", ".xml"):  # .xml last: it marks the tower as complete
            part.with_suffix(suffix).replace(self.file.with_suffix(suffix))


def from_torch(tower: torch.nn.Module, example: torch.Tensor) -> openvino.Model:
    """Convert a tower for batches of any size, and for texts of any length.

    This takes a tenth of the time of `openvino.convert_model`, which traces twice and rewrites the whole graph.
    """
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    from openvino.passes import ConstantFolding, Manager

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch deprecates tracing
        trace: Any = torch.jit.trace  # torch does not annotate it
        traced = trace(tower, example, check_trace=False)
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced)  # held in a variable: OpenVINO does not keep it alive
    model = frontend.convert(frontend.load(decoder))
    folding = Manager()
    folding.register_pass(ConstantFolding())  # splits weights once now, instead of in memory at every load
    folding.run_passes(model)
    model.reshape([-1, *example.shape[1:]] if example.dim() == 4 else [-1, -1])
    return model


def build(spec: ModelSpec, weights: Path) -> Any:
    from .networks import build_network

    return build_network(spec, weights)
