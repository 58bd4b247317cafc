"""OpenVINO, which on import reports its use to a web service, from a forked process, unless one package is missing."""

from __future__ import annotations

import sys

from .deferred import deferred

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
with deferred({"openvino.tools.ovc": ["convert_model"]}):
    import openvino as openvino  # others take it from here
