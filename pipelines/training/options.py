"""TrainOptions: the options of `image-search train`, checked before any work."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..models.fingerprint import sha256_of
from ..models.model_folder import model_values
from ..models.registry import get_model
from ..models.spec import ModelSpec, Weights
from ..settings import TEMPLATES_HELP, THREADS_HELP, AcceptsPaths, option

FREEZE = ("none", "image", "text")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
AUGMENT = ("auto", "none", "strong")
CONFIGS = Path(__file__).with_name("configs")
# The value that Wortsman et al. 2022 recommend if nothing else is known.
WISE_FT = 0.5


@dataclass(frozen=True)
class TrainOptions(AcceptsPaths):
    """What a training run does. The names are those of the options of `image-search train`."""

    csv: str = option(MISSING, "", "CSV")
    out: str = option(MISSING, "Folder for the result; search with it by --model ./my-model.")
    model: str = option("", "Model to start from: a name (see `image-search models`) or a folder of `train`.")
    weights: str = option("", "Weights file to start from instead of the model's own.")
    from_scratch: bool = option(False, "Start from random weights; needs --config.")
    config: str = option("", "JSON with the sizes of a new model; builtin.json comes with the program.")
    templates: str = option("", TEMPLATES_HELP)
    validation: str = option("", "CSV to measure on, instead of --holdout.")
    holdout: float = option(0.1, "Share of the images to measure on; they are never trained on.")
    epochs: int = option(10, "Passes over the images; each pass takes one text per image.")
    batch: int = option(64, "Images in memory at once.")
    accumulate: int = option(1, "Batches that one step compares with each other; as exact as a larger batch.")
    lr: float = option(-1.0, "Highest learning rate; -1 takes 1e-5, or 1e-3 from scratch.")
    weight_decay: float = option(0.1, "Weight decay of the matrices.")
    warmup: float = option(0.1, "Share of the steps in which the rate rises; it then falls along a cosine to 0.")
    freeze: str = option("none", "Tower that is not trained: none, image or text.")
    unfreeze_after: int = option(0, "Epochs that train only the projections and last blocks.")
    wise_ft: float = option(-1.0, "Share of the tuned weights beside the start's (WiSE-FT); -1 takes 0.5.")
    patience: int = option(0, "Stop after this many epochs without improvement; 0 never stops early.")
    augment: str = option("auto", "Random changes of the images: none, strong (crop, mirror, colours), or auto.")
    precision: str = option("auto", "fp32, bf16, fp16, or auto: half on GPUs, bf16 on CPUs that multiply in it.")
    seed: int = option(0, "Seed of the held-out part, the order and the choice of texts.")
    device: str = option("auto", "auto, cpu, cuda, cuda:1 or mps.")
    threads: int = option(0, THREADS_HELP)
    checkpoint_every: int = option(100, "Steps between checkpoints.")
    allow_private_urls: bool = option(False, "Also fetch images from private, loopback and link-local addresses.")

    @property
    def effective_batch(self) -> int:
        """Images that are compared with each other in one step."""
        return self.batch * self.accumulate

    def resolved(self) -> TrainOptions:
        """Return a copy with the defaults that depend on other options filled in.

        Raises:
            InputError: an option is invalid, or cannot be combined with another.
        """
        self._check()
        scratch = self.from_scratch
        rate = self.lr if self.lr >= 0 else (1e-3 if scratch else 1e-5)
        share = self.wise_ft if self.wise_ft >= 0 else (1.0 if scratch else WISE_FT)
        augment = self.augment if self.augment != "auto" else ("strong" if scratch else "none")
        return dataclasses.replace(self, lr=rate, wise_ft=share, augment=augment)

    def _check(self) -> None:
        if self.from_scratch and (self.model or self.weights):
            raise InputError("--from-scratch starts from nothing: leave --model and --weights out, or --from-scratch")
        if self.from_scratch != bool(self.config):
            raise InputError("--from-scratch and --config belong together: --from-scratch --config builtin.json")
        if not self.from_scratch and not self.model:
            raise InputError("say which model to fine-tune: --model clip_vit_base_patch32, see `models`")
        if self.from_scratch and (self.freeze != "none" or self.unfreeze_after or 0 <= self.wise_ft < 1):
            raise InputError("--freeze, --unfreeze-after and --wise-ft keep what a model knows: not --from-scratch")
        for name, known in (("freeze", FREEZE), ("precision", PRECISIONS), ("augment", AUGMENT)):
            if getattr(self, name) not in known:
                raise InputError(f"--{name} is one of {', '.join(known)}, not '{getattr(self, name)}'")
        limits: dict[str, tuple[float, float]] = {
            "epochs": (1, 1e6), "batch": (2, 1e6), "accumulate": (1, 1e6), "holdout": (0, 0.9), "warmup": (0, 1),
            "wise_ft": (-1, 1), "checkpoint_every": (1, 1e9), "unfreeze_after": (0, 1e6), "patience": (0, 1e6),
            "threads": (0, 1e4), "weight_decay": (0, 10), "lr": (-1, 10), "seed": (0, 2**63 - 1),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:  # NaN is rejected, too
                raise InputError(f"--{name.replace('_', '-')} must be from {max(low, 0):g} to {high:g}")
        if not self.validation and not self.holdout:
            raise InputError("--holdout 0 leaves nothing to measure on: give --validation CSV")

    def start_spec(self) -> ModelSpec:
        """Return the model to start from; from scratch, a spec with the sizes of --config and no weights.

        Raises:
            InputError: there is no such model or configuration.
        """
        if not self.from_scratch:
            spec = get_model(self.model)
            if spec.family != "clip" or spec.text or spec.squash:
                raise InputError(f"--model {self.model}: only CLIPs whose texts CLIP's own tower reads can be trained")
            return spec
        path = self._config_path
        try:
            values = model_values(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            known = ", ".join(sorted(file.name for file in CONFIGS.glob("*.json")))
            raise InputError(f"--config: there is no file {self.config}; {known} comes with this program") from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"--config {self.config} describes no model: {' '.join(str(error).split())}") from error
        return ModelSpec(name=f"scratch ({path.name})", weights=Weights(""), licence="", **values)

    def identity(self, start_sha256: str) -> dict[str, Any]:
        """Return everything that determines the result. A run is continued only if all of it is the same."""
        values = dataclasses.asdict(self)
        for name in ("out", "threads", "checkpoint_every"):  # they do not affect the result
            del values[name]
        for name in ("weights", "csv", "validation", "config"):  # replaced below, by content
            del values[name]
        values["csv"] = sha256_of(Path(self.csv).expanduser())
        values["validation"] = sha256_of(Path(self.validation).expanduser()) if self.validation else ""
        values["weights"] = start_sha256
        values["model"] = get_model(self.model).name if self.model else self.config
        if self.from_scratch:
            values["config"] = sha256_of(self._config_path)
        return values

    @property
    def _config_path(self) -> Path:
        path = Path(self.config).expanduser()
        return path if path.is_file() else CONFIGS / path.name
