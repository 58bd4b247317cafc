"""`image-search models`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .parser import Output

if TYPE_CHECKING:
    from ..models.spec import ModelSpec

_SHOWN = ("name", "take it for", "languages", "flickr30k", "coco", "cost", "download", "checked", "weights")
_SHOWN_OF_TEXTS = ("name", "take it for", "languages", "download", "checked", "weights")
_LISTED_LANGUAGES = 4
_DEFAULT_GFLOPS = 8.2  # cost of the default model, to which other costs are relative
_EXPLAINED = """
flickr30k, coco: how often an English caption finds its image first, in percent (text→image recall@1, zero-shot;
docs/openclip_retrieval_results.csv of open_clip). cost: work for an image, relative to the default.
checked: what was compared before this release. weights: all, with the weights themselves; file: the download has a
published SHA-256, the network was compared with the original's code on random weights; network: only that."""


def models(output: Output) -> None:
    """List the models, what to take each for, and which are here."""
    from ..models.registry import list_models
    from ..models.text_models import list_text_models
    from .output import print_table

    rows, text_rows = [_row(spec) for spec in list_models()], [_row(spec) for spec in list_text_models()]
    if output.json:
        print(json.dumps([*rows, *text_rows], indent=2))
        return
    print_table([_cells(row, _SHOWN) for row in rows], _SHOWN)
    print(_EXPLAINED)
    print("\nOther text encoders for images that are already embedded (--text-model):\n")
    print_table([_cells(row, _SHOWN_OF_TEXTS) for row in text_rows], _SHOWN_OF_TEXTS)
    print("\nMissing weights are downloaded on first use.")


def _cells(row: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    codes = row["languages"].split()
    shown = {
        **row,
        "languages": row["languages"] if len(codes) <= _LISTED_LANGUAGES else f"{len(codes)} languages",
        "download": "none" if row["weights"] == "shipped" else f"{row['megabytes']:,} MB",
        "cost": f"{row['gflops'] / _DEFAULT_GFLOPS:.1f}",
    }
    return ["" if shown[name] is None else str(shown[name]) for name in names]


def _row(spec: ModelSpec) -> dict[str, Any]:
    from ..models.weights import find, revision_of

    path = find(spec)
    state = "shipped" if spec.weights.path else "missing" if path is None else str(path)
    flickr, coco = spec.quality or (None, None)
    fits = f"collections of {', '.join(spec.fits)}"
    return {
        "name": spec.name, "take it for": fits if spec.fits else spec.note, "languages": " ".join(spec.languages),
        "dim": spec.dim, "pixels": spec.image_size, "activation": spec.activation,
        "flickr30k": flickr, "coco": coco, "gflops": spec.gflops, "megabytes": spec.megabytes,
        "checked": "weights" if spec.weights.path else "file" if spec.weights.sha256 else "network",
        "licence": spec.licence.split(" (")[0], "weights": state, "repository": spec.weights.repository,
        "revision": revision_of(spec), "sha256": spec.weights.sha256,
    }  # fmt: skip
