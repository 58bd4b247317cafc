"""The collection of the public tutorials."""

from __future__ import annotations

from pymilvus import DataType, MilvusClient

from pipelines import Settings
from pipelines.milvus.connection import connect


def make_tutorial_collection(settings: Settings, dim: int = 256) -> MilvusClient:
    """Create a collection as the tutorial does: an integer id and a vector, nothing else."""
    client = connect(settings.uri)
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=dim)
    index = client.prepare_index_params()
    index.add_index("embedding", index_type="IVF_FLAT", metric_type="L2", params={"nlist": 16})
    client.create_collection(settings.collection, schema=schema, index_params=index)
    return client
