"""`image-search export-model`: a model for other programs to run."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass

from ..settings import Settings, option
from .parser import Output


@dataclass(frozen=True)
class ExportModelOptions:
    """The form of the model, and where to write it."""

    folder: str = option(MISSING, "", "DIR")
    format: str = option("onnx", "onnx, openvino, or triton for a whole model repository.")
    backend: str = option("onnxruntime", "With --format triton: onnxruntime, or python where the server has no other.")


def export_model(options: ExportModelOptions, settings: Settings, output: Output) -> None:
    """Write a model for other programs to run.

    Both towers are written, take any number of images or texts, and are loaded and compared with PyTorch. --precision
    may be fp32 (the default) or fp16.

    \b
    Example: a server that speaks Triton's protocol, and an insert by it
      image-search export-model repository/ --format triton
      tritonserver --model-repository=repository
      image-search insert photos/ --model-url http://host:8000
    """
    from ..models.export import export_model as export

    towers = export(settings, options.folder, options.format, options.backend)
    if output.json:
        print(json.dumps([{**tower._asdict(), "path": str(tower.path)} for tower in towers], indent=2))
        return
    for tower in towers:
        size = sum(file.stat().st_size for file in tower.path.parent.glob(f"{tower.path.stem}.*"))
        print(f"{tower.kind} tower: {tower.path}, {size / 1e6:,.1f} MB, cosine to PyTorch at least {tower.cosine:.6f}")
