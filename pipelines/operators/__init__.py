"""Towhee operators under the hub's own names: found in the registry first, so no hub is asked at run time."""

from __future__ import annotations


def register_all() -> None:
    """Registers every operator of this project with Towhee. Importing them loads no model and no database."""
    from towhee import register

    from .clip_embedding import ClipEmbedding
    from .image_decode import ImageDecode
    from .milvus_client import MilvusInsert, MilvusSearch, MilvusUpsert
    from .normalize import Normalize
    from .weighted_sum import WeightedSum

    register(name="image-decode/cv2")(ImageDecode)
    register(name="image-text-embedding/clip")(ClipEmbedding)
    register(name="embedding/weighted-sum")(WeightedSum)
    register(name="towhee/np-normalize")(Normalize)
    register(name="ann-insert/milvus-client")(MilvusInsert)
    register(name="ann-insert/milvus-rows")(MilvusUpsert)
    register(name="ann-search/milvus-client")(MilvusSearch)
