"""An image tower in int8, for CPUs that multiply int8 faster than any other type.

NNCF measures the ranges of the activations on images like those that the tower will see. It uses the extremes of each
range (MinMax): with its default, means, `builtin` embeds some images far from where they belong. MinMax is not enough
if a few channels are much larger than the others. Then NNCF first moves their scale into the weights (SmoothQuant, Xiao
et al. 2022), which costs speed.
"""

from __future__ import annotations

import importlib.util
import io
import os
import threading
from contextlib import redirect_stdout
from typing import Any

import numpy as np

from ..errors import InputError, ModelError
from .openvino_tower import Tower, openvino

# With fewer images, neither the ranges nor the loss of accuracy can be measured well.
FEWEST_IMAGES = 40
# Every fourth image is held out, to measure on.
_HELD_OUT = 4
LEAST_COSINE = 0.98
_REMEDY = "use --precision bf16, or fp32 where the CPU has no bf16"


class QuantisedTower:
    """The image tower `of` in int8. It must be calibrated once; the result is cached beside `of`.

    Raises:
        InputError: NNCF is not installed.
    """

    def __init__(self, of: Tower) -> None:
        if importlib.util.find_spec("nncf") is None:
            raise InputError("--precision int8 needs one more package: pip install nncf")
        self._of = of
        self._file = of.file.with_name(f"{of.file.stem}-int8.xml")
        self._lock = threading.Lock()
        self._compiled: Any = None

    def __call__(self, items: np.ndarray) -> np.ndarray:
        """uint8[n, size, size, 3] → float32[n, dim].

        Raises:
            ModelError: the tower is not calibrated.
        """
        with self._lock:
            if self._compiled is None:
                if not self.is_calibrated():
                    raise ModelError(
                        f"the model is not calibrated for int8 here: insert images with it first, or {_REMEDY}"
                    )
                self._compiled = self._load()
            return np.array(self._compiled(items)[0])

    def _load(self) -> Any:
        try:
            return self._of.compile(self._of.core.read_model(self._file))
        except RuntimeError as error:
            self._file.unlink()
            raise ModelError(
                f"{self._file} was damaged, and is deleted: insert again, which calibrates again"
            ) from error

    def is_calibrated(self) -> bool:
        """Return whether the cache holds the tower in int8."""
        return os.path.isfile(self._file)

    def calibrate(self, images: np.ndarray) -> tuple[float, float]:
        """Calibrate the tower on images, uint8[n, size, size, 3]; return the lowest and the mean cosine to float32.

        Raises:
            InputError: there are too few images, or int8 would change the embeddings too much.
        """
        if len(images) < FEWEST_IMAGES:
            raise InputError(
                f"int8 is calibrated on at least {FEWEST_IMAGES} images, and here are {len(images)}: {_REMEDY}"
            )
        held_out = np.arange(len(images)) % _HELD_OUT == 0
        model = self._of.load_model()
        for smooth in (False, True):
            quantised = _quantise(self._of.load_model(), images[~held_out], smooth)
            cosines = _cosines(self._of, model, quantised, images[held_out])
            least, mean = float(cosines.min()), float(cosines.mean())
            if least >= LEAST_COSINE:  # False for NaN
                break
        else:
            raise InputError(
                f"in int8 the embedding of an image keeps a cosine of {least:.3f} to float32, and {LEAST_COSINE} "
                f"is wanted: {_REMEDY}"
            )
        part = self._file.with_name(f"{os.getpid()}-{self._file.name}")
        openvino.save_model(quantised, part, compress_to_fp16=False)
        for suffix in (".bin", ".xml"):  # .xml last: it marks the tower as complete
            part.with_suffix(suffix).replace(self._file.with_suffix(suffix))
        return least, mean


def _quantise(model: Any, images: np.ndarray, smooth: bool) -> Any:
    with redirect_stdout(io.StringIO()):  # hides NNCF's progress bars; stdout is for the program's result
        import nncf
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        nncf.set_log_level("ERROR")
        ranges = nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
        )
        return nncf.quantize(
            model, nncf.Dataset([image[None] for image in images]), subset_size=len(images),
            preset=nncf.QuantizationPreset.MIXED, advanced_parameters=ranges,
            model_type=nncf.ModelType.TRANSFORMER if smooth else None,
        )  # fmt: skip


def _cosines(of: Tower, model: Any, quantised: Any, images: np.ndarray) -> np.ndarray:
    exact = of.core.compile_model(model, "CPU", {**of.hints, "INFERENCE_PRECISION_HINT": "f32"})
    ours = of.compile(quantised)
    pairs = [(exact(images[i : i + 32])[0], ours(images[i : i + 32])[0]) for i in range(0, len(images), 32)]
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return np.asarray((first * second).sum(axis=1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1))
