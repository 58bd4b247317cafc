"""Run the model.onnx beside this file in Triton's python backend; `export-model` copies it into the repository.

The backend's conversions from and to numpy fail silently with numpy 2; conversions through DLPack are exact.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import triton_python_backend_utils as backend  # exists only inside the server

_USED = b"used_dltensor"


class TritonPythonModel:
    """One tower; the server calls these methods."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model with ONNX Runtime, or with OpenVINO if ONNX Runtime is missing."""
        self._run = _load(os.path.join(args["model_repository"], args["model_version"], "model.onnx"))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        items = np.from_dlpack(backend.get_input_tensor_by_name(request, "input"))
        embeddings = np.ascontiguousarray(self._run(items), np.float32)
        capsule = embeddings.__dlpack__()
        output = backend.Tensor.from_dlpack("embedding", capsule)
        # The server gives a used capsule a name that is not the standard's, which numpy would log at every call.
        ctypes.pythonapi.PyCapsule_SetName(ctypes.py_object(capsule), _USED)
        return backend.InferenceResponse([output])


def _load(file: str) -> Callable[[np.ndarray], np.ndarray]:
    try:
        import onnxruntime
    except ImportError:
        import openvino

        compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda items: np.array(compiled(items)[0])
    providers = [name for name in onnxruntime.get_available_providers() if not name.startswith("Tensorrt")]
    session = onnxruntime.InferenceSession(file, providers=providers)
    return lambda items: np.asarray(session.run(None, {"input": items})[0])
