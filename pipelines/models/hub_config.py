"""Read the configuration beside a model's weights: transformers' `config.json` or `open_clip_config.json`.

An embedding depends on sizes, activation and preprocessing, and the weights do not show all of them. Values that a
file omits have the publisher's own defaults, which are repeated here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ModelError
from .architecture import Architecture, TextEncoder
from .model_folder import channels, read_json
from .spec import CLIP_MEAN, CLIP_STD, Activation, ModelSpec

OPEN_CLIP, TRANSFORMERS, PREPROCESSOR = "open_clip_config.json", "config.json", "preprocessor_config.json"
CONFIGS = (OPEN_CLIP, TRANSFORMERS)

_ACTIVATIONS: dict[str, Activation] = {"quick_gelu": "quick_gelu", "gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh"}
# Defaults of `CLIPTextConfig`, `CLIPVisionConfig`, … in transformers.
_VIT = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu",
}  # fmt: skip
_CLIP_TEXT = {
    "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
    "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu",
}  # fmt: skip
_SIGLIP_VIT = {**_VIT, "patch_size": 16, "hidden_act": "gelu_pytorch_tanh"}
_SIGLIP_TEXT = {
    **_VIT, "vocab_size": 32000, "max_position_embeddings": 64, "hidden_act": "gelu_pytorch_tanh",
}  # fmt: skip
_BERT_TEXT = {
    **_VIT, "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
}  # fmt: skip
# Sizes of the text encoders and SigLIP image towers, which open_clip's configuration gives only by name.
XLM_R_BASE = TextEncoder(
    vocab_size=250002, context_length=77, positions=514, token_types=1, first_position=2, padding=1, epsilon=1e-5
)
_NAMED_TEXTS: dict[str, dict[str, Any]] = {
    "xlm-roberta-base": {},
    "xlm-roberta-large": {"width": 1024, "layers": 24, "heads": 16, "mlp_width": 4096},
    "roberta-base": {"vocab_size": 50265},
}
_PE_TOWERS = {"tiny": (192, 12), "small": (384, 12), "base": (768, 12), "large": (1024, 24)}
_SIGLIP_TOWERS = {"base": (768, 12, 0, 0), "large": (1024, 24, 0, 0), "so400m": (1152, 27, 16, 4304)}
CHINESE_CLIP_CONTEXT = 52  # tokens; `tokenize` in cn_clip, and its models' cards


class _Unknown(Exception):
    """A configuration is of a kind that this program does not know."""


class Description(NamedTuple):
    """What a configuration says, as arguments of `ModelSpec`."""

    file: Path
    values: dict[str, Any]


def read_config(folder: Path) -> Description | None:
    """Read the configuration of the model in a folder; None if there is none of a known kind.

    Raises:
        ModelError: the configuration is damaged, or describes a model that no family here supports.
    """
    for name, read in ((OPEN_CLIP, _read_open_clip), (TRANSFORMERS, _read_transformers)):
        file = folder / name
        if not file.is_file():
            continue
        try:
            config = read_json(file)
            if isinstance(config, dict):
                values = read(config, folder)
                return Description(file, {**values, "mean": channels(values["mean"]), "std": channels(values["std"])})
        except _Unknown:
            continue
        except (OSError, ValueError, TypeError, KeyError, AttributeError, ZeroDivisionError, RecursionError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:160]
            raise ModelError(f"{file} describes no model that this program knows: {reason}") from error
    return None


def check_config(spec: ModelSpec, weights: Path) -> bool:
    """Compare a model with the configuration beside its weights; return whether there is one.

    Raises:
        ModelError: they differ; the message names both.
    """
    found = read_config(weights.parent)
    if found is None:
        return False
    ours = {name: getattr(spec, name) for name in found.values}
    for name, theirs in found.values.items():
        if name == "architecture" and spec.text:  # the text encoder's sizes are compared separately
            continue
        if name != "cleaning" and theirs != ours[name]:
            raise ModelError(f"{found.file} says {_differences(name, theirs, ours[name], spec.name)}")
    return True


def _differences(name: str, theirs: Any, ours: Any, model: str) -> str:
    if isinstance(theirs, (Architecture, TextEncoder)) and type(theirs) is type(ours):
        name, theirs, ours = next(
            (field, value, getattr(ours, field))
            for field, value in vars(theirs).items()
            if value != getattr(ours, field)
        )
    folder = "name the folder itself (--model ./FOLDER), which then decides, or take other weights"
    return f"{name} {theirs}, and {model} has {ours}: {folder}"


def _read_transformers(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    kind = config.get("model_type")
    if kind not in ("clip", "siglip", "chinese_clip"):
        raise _Unknown(kind)
    defaults = {"clip": (_CLIP_TEXT, _VIT), "siglip": (_SIGLIP_TEXT, _SIGLIP_VIT), "chinese_clip": (_BERT_TEXT, _VIT)}
    text, vision = (
        {**default, **(config.get(name) or {})}
        for default, name in zip(defaults[kind], ("text_config", "vision_config"), strict=True)
    )
    is_siglip = kind == "siglip"
    dim = text.get("projection_size", text["hidden_size"]) if is_siglip else config.get("projection_dim", 512)
    values: dict[str, Any] = {
        "architecture": _architecture(text, vision, dim), "activation": _activation(vision["hidden_act"]),
        "family": "siglip" if is_siglip else "clip", **_read_preprocessor(folder, is_siglip),
    }  # fmt: skip
    if kind == "chinese_clip":
        values["text"] = _bert(text, dim)
    elif text["hidden_act"] != vision["hidden_act"]:
        raise ValueError(f"hidden_act is {text['hidden_act']} for texts and {vision['hidden_act']} for images")
    if is_siglip:  # SigLIP 2 was trained on lower case; the first SigLIP on texts without punctuation
        values["cleaning"] = "lower" if text["vocab_size"] == 256000 else "canonicalize"
    return values


def _architecture(text: Mapping[str, Any], vision: Mapping[str, Any], dim: int) -> Architecture:
    width, heads = vision["hidden_size"], vision["num_attention_heads"]
    inner = {
        tower["intermediate_size"] for tower in (text, vision) if tower["intermediate_size"] != 4 * tower["hidden_size"]
    }
    if len(inner) > 1 or (inner and text["intermediate_size"] != vision["intermediate_size"]):
        raise ValueError("intermediate_size is not the same in both towers")
    return Architecture(
        dim, vision["image_size"], vision["num_hidden_layers"], width, vision["patch_size"], text["hidden_size"],
        text["num_attention_heads"], text["num_hidden_layers"], text["max_position_embeddings"], text["vocab_size"],
        vision_heads=0 if heads * 64 == width else heads, mlp_width=next(iter(inner), 0),
    )  # fmt: skip


def _activation(name: str) -> Activation:
    if name not in _ACTIVATIONS:
        raise ValueError(f"hidden_act is {name}, not one of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]


def _bert(text: Mapping[str, Any], dim: int) -> TextEncoder:
    if text["hidden_act"] != "gelu":
        raise ValueError(f"hidden_act of the text encoder is {text['hidden_act']}, not gelu")
    return TextEncoder(
        text["vocab_size"], CHINESE_CLIP_CONTEXT, text["hidden_size"], text["num_hidden_layers"],
        text["num_attention_heads"], text["intermediate_size"], text["max_position_embeddings"],
        text["type_vocab_size"], padding=text.get("pad_token_id") or 0, epsilon=text["layer_norm_eps"],
        pooling="first", head=(dim,),
    )  # fmt: skip


def _read_preprocessor(folder: Path, is_siglip: bool) -> dict[str, Any]:
    """Return mean, deviation and fit; without the file, the defaults of the family's own image processor."""
    file = folder / PREPROCESSOR
    found = read_json(file) if file.is_file() else {}
    half = (0.5, 0.5, 0.5)
    mean, std = found.get("image_mean"), found.get("image_std")
    return {
        "mean": tuple(mean) if mean else (half if is_siglip else CLIP_MEAN),
        "std": tuple(std) if std else (half if is_siglip else CLIP_STD),
        "squash": not found.get("do_center_crop", not is_siglip), "bilinear": found.get("resample") == 2,
    }  # fmt: skip


def _read_open_clip(config: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    model, seen = config["model_cfg"], config.get("preprocess_cfg") or {}
    vision, text = model["vision_cfg"], model["text_cfg"]
    values: dict[str, Any] = {
        "mean": tuple(seen.get("mean") or CLIP_MEAN), "std": tuple(seen.get("std") or CLIP_STD),
        "squash": seen.get("resize_mode") == "squash", "bilinear": seen.get("interpolation") == "bilinear",
        "activation": "quick_gelu" if model.get("quick_gelu") else "gelu",
    }  # fmt: skip
    if vision.get("timm_model_name", "").startswith("vit_pe_core_"):
        return {**values, "family": "pe", "architecture": _open_clip_pe(model, vision, text)}
    if "timm_model_name" in vision:  # timm gives some of these the exact GELU; they were trained with the tanh form
        cleaning = (text.get("tokenizer_kwargs") or {}).get("clean", "canonicalize")
        siglip = {"family": "siglip", "activation": "gelu_tanh", "cleaning": cleaning}
        return {**values, **siglip, "architecture": _open_clip_siglip(model, vision, text)}
    if "hf_model_name" in text:
        values |= {"text": _open_clip_bert(model["embed_dim"], text), "cleaning": "whitespace"}
    layers, width = vision["layers"], vision["width"]
    heads = 0 if isinstance(layers, list) else width // vision.get("head_width", 64)
    encoder = values.get("text") or TextEncoder(
        text.get("vocab_size", 49408), text.get("context_length", 77), text.get("width", 512), text.get("layers", 12),
        text.get("heads", 8),
    )  # fmt: skip
    values["architecture"] = Architecture(
        model["embed_dim"], vision["image_size"], tuple(layers) if isinstance(layers, list) else layers, width,
        None if isinstance(layers, list) else vision["patch_size"], encoder.width, encoder.heads, encoder.layers,
        encoder.context_length, encoder.vocab_size, vision_heads=0 if heads * 64 == width else heads,
    )  # fmt: skip
    return {**values, "family": "clip"}


def _open_clip_bert(dim: int, text: Mapping[str, Any]) -> TextEncoder:
    name, pooler = text["hf_model_name"].removeprefix("FacebookAI/"), text.get("hf_pooler_type", "mean_pooler")
    if name not in _NAMED_TEXTS or pooler != "mean_pooler":
        raise ValueError(f"text encoder {name} with {pooler}; known are {', '.join(_NAMED_TEXTS)} with mean_pooler")
    sizes = {**vars(XLM_R_BASE), **_NAMED_TEXTS[name]}
    kind = text.get("hf_proj_type", text.get("proj", "mlp"))
    head = (dim,) if kind == "linear" else ((sizes["width"] + dim) // 2, dim)
    return TextEncoder(**{**sizes, "context_length": text.get("context_length", 77), "head": head})


def _open_clip_siglip(model: Mapping[str, Any], vision: Mapping[str, Any], text: Mapping[str, Any]) -> Architecture:
    name = vision["timm_model_name"]
    match = re.fullmatch(r"vit_(\w+?)_patch(\d+)_siglip(?:_\d+)?", name)
    if match is None or match[1] not in _SIGLIP_TOWERS:
        raise ValueError(f"image tower {name}; known are vit_{'|'.join(_SIGLIP_TOWERS)}_patch…_siglip")
    width, layers, heads, mlp_width = _SIGLIP_TOWERS[match[1]]
    return Architecture(
        model["embed_dim"], vision["image_size"], layers, width, int(match[2]), text["width"], text["heads"],
        text["layers"], text["context_length"], text["vocab_size"], vision_heads=heads, mlp_width=mlp_width,
    )  # fmt: skip


def _open_clip_pe(model: Mapping[str, Any], vision: Mapping[str, Any], text: Mapping[str, Any]) -> Architecture:
    name = vision["timm_model_name"]
    match = re.fullmatch(r"vit_pe_core_(\w+?)_patch(\d+)_(\d+)", name)
    if match is None or match[1] not in _PE_TOWERS or int(match[3]) != vision["image_size"]:
        raise ValueError(f"image tower {name}; known are vit_pe_core_{'|'.join(_PE_TOWERS)}_patch…")
    width, layers = _PE_TOWERS[match[1]]
    return Architecture(
        model["embed_dim"], vision["image_size"], layers, width, int(match[2]), text["width"], text["heads"],
        text["layers"], text["context_length"], text["vocab_size"],
    )  # fmt: skip
