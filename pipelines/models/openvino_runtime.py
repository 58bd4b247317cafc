"""Run a model on the CPU with OpenVINO, by default in bf16 if the CPU has instructions for it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..threads import allowed_cores, resolve_threads
from .openvino_tower import Tower, build, openvino
from .quantised_tower import QuantisedTower
from .spec import ModelSpec


class OpenVinoRuntime:
    """Both towers on the CPU, compiled on first use. Each serves one call at a time, with all threads."""

    def __init__(
        self, spec: ModelSpec, path: Path, fingerprint: str, threads: int = 0, precision: str = "auto"
    ) -> None:
        self.name, self.device = "openvino", "cpu"
        core = openvino.Core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        fastest = "bf16" if "BF16" in able else "fp32"
        if precision not in ("auto", "fp32") and precision.upper() not in able:
            raise InputError(f"OpenVINO has no {precision} on this CPU: use --runtime pytorch, or another --precision")
        self.precision = precision if precision != "auto" else fastest
        self.default_batch_size = 32 if self.precision == "fp32" else 64
        computed = fastest if precision == "int8" else self.precision  # what int8 does not cover: norms, softmax, texts
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": computed.replace("fp", "f")}
        threads = resolve_threads(threads)
        if threads < allowed_cores():
            # With pinning, the threads of several processes would all share the first cores.
            hints |= {"INFERENCE_NUM_THREADS": str(threads), "ENABLE_CPU_PINNING": "NO"}
        kinds = ("text",) if spec.family == "text" else ("image", "text")
        towers = [Tower(core, kind, hints, spec, path, fingerprint) for kind in kinds]
        self._quantised = QuantisedTower(towers[0]) if precision == "int8" and spec.family != "text" else None
        self.embed_images: Callable[[np.ndarray], np.ndarray] = self._quantised or towers[0]
        self.embed_texts: Callable[[np.ndarray], np.ndarray] = towers[-1]
        self.prepare_texts = towers[-1].prepare
        if not any(tower.is_converted() for tower in towers):
            network = build(spec, path)  # rejects a wrong file early
            for tower in towers:  # both now: most insert runs are followed by a search
                tower.convert(network)

    def calibrate(self, read_images: Callable[[], np.ndarray]) -> None:
        """Convert the image tower to int8, if requested and not done before; print the cosine to float32.

        Args:
            read_images: returns a few hundred images, uint8[n, size, size, 3].

        Raises:
            InputError: there are too few images, or int8 would change the embeddings too much.
        """
        if self._quantised is None or self._quantised.is_calibrated():
            return
        least, mean = self._quantised.calibrate(read_images())
        print(f"calibrated for int8: cosine to float32 at least {least:.4f}, {mean:.4f} on average", file=sys.stderr)
