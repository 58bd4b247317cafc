"""The Towhee pipelines of this project: insert, read metadata, embed texts, embed images, search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from towhee.runtime.runtime_pipeline import RuntimePipeline

    from .fields import Field
    from .milvus.collection import Collection
    from .models.clip import ClipModel
    from .models.multilingual import MultilingualTower
    from .settings import Settings


def build_insert(
    model: ClipModel, collection: Collection, settings: Settings, columns: Sequence[Field] = ()
) -> RuntimePipeline:
    """Declare the insert pipeline: (rows, paths) of one batch → (reasons, metadata, written), a list of each.

    A reason says why an image could not be decoded; it is '' if it could. Metadata are the values of `columns` by key,
    read from the file and stored with the row. `written` is True if the row was stored. A row is a mapping of all
    fields of the collection except the embedding.
    """
    from . import ops, pipe

    return (
        pipe.input("rows", "paths")
        .map("paths", ("images", "reasons", "metadata"), ops.image_decode.cv2(
            "rgb", size=model.spec.fit, reasons=True, metadata=columns, deadline=True, **settings.decode_options))
        .map("images", "embeddings", ops.image_text_embedding.clip(model, modality="image"))
        .map("embeddings", "embeddings", ops.towhee.np_normalize())
        .map(("rows", "metadata", "embeddings"), "written", ops.ann_insert.milvus_rows(collection))
        .output("reasons", "metadata", "written")
    )  # fmt: skip


def build_metadata(settings: Settings, columns: Sequence[Field]) -> RuntimePipeline:
    """Declare the pipeline that only reads metadata, without pixels: n paths → n metadata as in `build_insert`."""
    from . import ops, pipe

    return (
        pipe.input("paths")
        .map("paths", ("images", "reasons", "metadata"), ops.image_decode.cv2(
            reasons=True, metadata=columns, pixels=False, **settings.decode_options))
        .output("metadata")
    )  # fmt: skip


def build_text_embedding(model: ClipModel | MultilingualTower) -> RuntimePipeline:
    """Declare the pipeline that embeds texts in one model call: n texts → float32[n, dim] of unit length."""
    from . import ops, pipe

    return (
        pipe.input("texts")
        .map("texts", "embeddings", ops.image_text_embedding.clip(model, modality="text"))
        .map("embeddings", "embeddings", ops.towhee.np_normalize())
        .output("embeddings")
    )


def build_image_embedding(model: ClipModel, settings: Settings) -> RuntimePipeline:
    """Declare the pipeline that embeds images: n sources → (reasons as in `build_insert`, unit float32[n, dim])."""
    from . import ops, pipe

    return (
        pipe.input("sources")
        .map("sources", ("images", "reasons"), ops.image_decode.cv2(
            "rgb", size=model.spec.fit, reasons=True, deadline=True, **settings.decode_options))
        .map("images", "embeddings", ops.image_text_embedding.clip(model, modality="image"))
        .map("embeddings", "embeddings", ops.towhee.np_normalize())
        .output("reasons", "embeddings")
    )  # fmt: skip


def build_search(collection: Collection, output_fields: Sequence[str]) -> RuntimePipeline:
    """Declare the search pipeline: (float32[n, dim] of unit length, limit, filter expression) → n lists of hits.

    Each hit is `[id, score, *output_fields]`. All n queries share one call of Milvus.
    """
    from . import ops, pipe

    return (
        pipe.input("queries", "limit", "filter")
        .map(("queries", "limit", "filter"), "hits", ops.ann_search.milvus_client(
            collection=collection, output_fields=list(output_fields)))
        .output("hits")
    )  # fmt: skip
