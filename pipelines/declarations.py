"""The four Towhee pipelines of this project, side by side: insert, embed texts, embed images, search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .models.registry import get_model
from .settings import Settings

if TYPE_CHECKING:
    from towhee.runtime.runtime_pipeline import RuntimePipeline


def build_insert(settings: Settings) -> RuntimePipeline:
    """Declares the insert pipeline. One call takes one batch and returns why each image was left out."""
    from towhee import ops, pipe

    settings = settings.with_model_of("")
    size = get_model(settings.model).image_size
    return (
        pipe.input("rows", "paths")
        .map("paths", ("images", "reasons"), ops.image_decode.cv2(
            "rgb", size=size, reasons=True, **settings.decode_options))
        .map("images", "embeddings", ops.image_text_embedding.clip(modality="image", **settings.model_options))
        .map("embeddings", "embeddings", ops.towhee.np_normalize())
        .map(("rows", "embeddings"), "written", ops.ann_insert.milvus_rows(**settings.milvus_options))
        .output("reasons", "written")
    )  # fmt: skip


def build_text_embedding(settings: Settings) -> RuntimePipeline:
    """Declares how texts are embedded, all in one model call: n texts → float32[n, dim] of unit length."""
    from towhee import ops, pipe

    settings = settings.with_model_of("")
    return (
        pipe.input("texts")
        .map("texts", "embeddings", ops.image_text_embedding.clip(modality="text", **settings.model_options))
        .map("embeddings", "embeddings", ops.towhee.np_normalize())
        .output("embeddings")
    )  # fmt: skip


def build_image_embedding(settings: Settings) -> RuntimePipeline:
    """Declares how images are embedded: n sources → (why unreadable or '', each; float32[n, dim] of unit length)."""
    from towhee import ops, pipe

    settings = settings.with_model_of("")
    size = get_model(settings.model).image_size
    return (
        pipe.input("sources")
        .map("sources", ("images", "reasons"), ops.image_decode.cv2(
            "rgb", size=size, reasons=True, **settings.decode_options))
        .map("images", "embeddings", ops.image_text_embedding.clip(modality="image", **settings.model_options))
        .map("embeddings", "embeddings", ops.towhee.np_normalize())
        .output("reasons", "embeddings")
    )  # fmt: skip


def build_search(settings: Settings, output_fields: Sequence[str]) -> RuntimePipeline:
    """Declares the search for n queries made of the same m parts, in one call of Milvus.

    (float32[m, dim] of unit length, weights float32[n, m], limit, filter) → (float32[n, dim], n lists of hits), each
    hit `[id, score, *output_fields]`. A query whose parts cancel each other out is NaN and has no hits.
    """
    from towhee import ops, pipe

    return (
        pipe.input("embeddings", "weights", "limit", "filter")
        .map(("embeddings", "weights"), "queries", ops.embedding.weighted_sum())
        .map("queries", "queries", ops.towhee.np_normalize())
        .map(("queries", "limit", "filter"), "hits", ops.ann_search.milvus_client(
            output_fields=list(output_fields), **settings.milvus_options))
        .output("queries", "hits")
    )  # fmt: skip
