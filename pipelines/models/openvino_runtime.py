"""Run a model on the CPU with OpenVINO: in bf16 where the CPU has instructions for it, and without importing PyTorch.

PyTorch is needed once, to convert the towers on first use. They are kept in the cache folder under the weights'
fingerprint and the versions of both libraries, each beside PyTorch's output for one known input. A tower is loaded
only if it reproduces that output; otherwise it is converted again.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelError
from ..settings import cache_dir
from ..threads import allowed_cores, resolve_threads
from .spec import ModelSpec

# On import OpenVINO reports its use to a web service, from a forked process, unless this package is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
import openvino  # noqa: E402

if TYPE_CHECKING:
    import torch

# Increase this when `towers.py` changes what is converted.
CONVERSION = 3
# bf16 stays above this, compared with float32; a damaged file does not.
MIN_COSINE = 0.999


class OpenVinoRuntime:
    """Both towers on the CPU, compiled when first used. Each serves one call at a time, with all threads."""

    def __init__(self, spec: ModelSpec, path: Path, fingerprint: str, threads: int = 0) -> None:
        self.name, self.device = "openvino", "cpu"
        core = openvino.Core()
        has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if has_bf16 else "fp32"
        self.default_batch_size = 64 if has_bf16 else 32
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": self.precision.replace("fp", "f")}
        threads = resolve_threads(threads)
        if threads < allowed_cores():
            # Pinned, the threads of several processes would all share the first cores.
            hints |= {"INFERENCE_NUM_THREADS": str(threads), "ENABLE_CPU_PINNING": "NO"}
        towers = [_Tower(core, kind, hints, spec, path, fingerprint) for kind in ("image", "text")]
        self.embed_images, self.embed_texts = towers
        if not any(tower.is_converted() for tower in towers):
            network = _build(spec, path)  # refuses a wrong file early
            for tower in towers:  # both at once: a search follows most insert runs
                tower.convert(network)


class _Tower:
    """One tower, converted, checked and compiled. It takes and returns what `Runtime` says."""

    def __init__(
        self, core: Any, kind: str, hints: dict[str, str], spec: ModelSpec, weights: Path, fingerprint: str
    ) -> None:
        self._core, self._kind, self._spec, self._weights = core, kind, spec, weights
        self._hints = hints
        self._probe = _probe(kind, spec)
        versions = f"{CONVERSION} {fingerprint} {spec.recipe} {openvino.__version__} {version('torch')}"
        name = hashlib.sha256(f"{kind} {versions}".encode()).hexdigest()[:20]
        self._file = cache_dir() / "converted" / f"{Path(spec.name).name}-{kind}-{name}.xml"
        self._lock = threading.Lock()
        self._compiled: Any = None

    def is_converted(self) -> bool:
        """Return whether the cache holds this tower."""
        return os.path.isfile(self._file)  # False also where the folder cannot be entered

    def __call__(self, items: np.ndarray) -> np.ndarray:
        with self._lock:
            if self._compiled is None:
                self._compiled = self._load_or_convert()
            return np.array(self._compiled(items)[0])

    def _load_or_convert(self) -> Any:
        compiled = self._load() if self.is_converted() else None
        if compiled is None:
            self.convert(_build(self._spec, self._weights))
            compiled = self._load()
        if compiled is None:
            raise ModelError(f"OpenVINO and PyTorch disagree about {self._spec.name}: use --runtime pytorch")
        return compiled

    def _load(self) -> Any:
        """Compile the tower; None if the file is damaged."""
        try:
            expected = np.load(self._file.with_suffix(".npy"), allow_pickle=False)
            compiled = self._core.compile_model(self._core.read_model(self._file), "CPU", self._hints)
            found = compiled(self._probe)[0]
        except (RuntimeError, OSError, ValueError, EOFError):
            return None
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        agrees = np.all((found * expected).sum(axis=1) >= MIN_COSINE * lengths)  # False for NaN
        return compiled if agrees else None

    def convert(self, network: Any) -> None:
        """Convert the tower of this network into the cache."""
        import torch

        from . import towers

        is_image = self._kind == "image"
        tower = towers.image_tower(network, self._spec) if is_image else towers.TextTower(network)
        with torch.inference_mode():
            example = torch.from_numpy(self._probe)
            expected = tower(example).numpy()
            model = _from_torch(tower, example)
        size = self._spec.image_size
        model.reshape([-1, size, size, 3] if is_image else [-1, -1])
        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_name(f"{os.getpid()}-{self._file.name}")
        part.touch()  # OpenVINO's own error does not tell that the folder cannot be written
        openvino.save_model(model, part, compress_to_fp16=False)
        np.save(part.with_suffix(".npy"), expected)
        for suffix in (".bin", ".npy", ".xml"):  # .xml last: it marks the tower as complete
            part.with_suffix(suffix).replace(self._file.with_suffix(suffix))


def _from_torch(tower: torch.nn.Module, example: torch.Tensor) -> openvino.Model:
    """Convert in a tenth of the time of `openvino.convert_model`, which traces twice and rewrites the whole graph."""
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    from openvino.passes import ConstantFolding, Manager

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch deprecates tracing
        trace: Any = torch.jit.trace  # not annotated
        traced = trace(tower, example, check_trace=False)
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced)  # held here: OpenVINO does not keep it alive
    model = frontend.convert(frontend.load(decoder))
    folding = Manager()
    folding.register_pass(ConstantFolding())  # splits weights now instead of at every load, in memory
    folding.run_passes(model)
    return model


def _build(spec: ModelSpec, weights: Path) -> Any:
    from .towers import build_network

    return build_network(spec, weights)


def _probe(kind: str, spec: ModelSpec) -> np.ndarray:
    """Return known inputs: two images of noise, uint8[2, size, size, 3], or two texts, int64[2, 7]."""
    if kind == "image":
        shape = (2, spec.image_size, spec.image_size, 3)
        return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    end = spec.architecture.vocab_size - 1
    return np.array([[end - 1, 320, 1929, end, 0, 0, 0], [end - 1, 320, 2368, 525, 320, 5009, end]], np.int64)
