"""Operators under the hub's names, in pipelines as the public tutorials write them."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import numpy as np
import pytest
from pymilvus import DataType, MilvusClient

from pipelines import Settings, ops, pipe
from pipelines.milvus.connection import connect
from pipelines.models.clip import load_model
from pipelines.models.registry import BUILTIN
from pipelines.operators.embedding import ClipEmbedding, Normalize
from pipelines.operators.image_decode import ImageDecode
from pipelines.operators.milvus_client import MilvusInsert, MilvusUpsert
from tests.support.photos import Photos

SIDE = BUILTIN.architecture.image_resolution


def make_tutorial_collection(settings: Settings, dim: int = 256) -> MilvusClient:
    """As the tutorial makes it: an integer id and a vector, nothing else."""
    client = connect(settings.uri)
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=dim)
    index = client.prepare_index_params()
    index.add_index("embedding", index_type="IVF_FLAT", metric_type="L2", params={"nlist": 16})
    client.create_collection(settings.collection, schema=schema, index_params=index)
    return client


def milvus_address(settings: Settings) -> dict[str, str]:
    """Host and port for a server, as the tutorial gives them; `uri` for a Lite file."""
    if "://" not in settings.uri:
        return {"uri": settings.uri}
    host, port = settings.uri.removeprefix("http://").split(":")
    return {"host": host, "port": port}


def test_tutorial_pipeline_runs_unchanged(settings: Settings, photos: Photos) -> None:
    from towhee import DataCollection

    client = make_tutorial_collection(settings)
    address = milvus_address(settings)

    def read_csv(csv_file: str):  # the tutorial's own generator
        with open(csv_file, encoding="utf-8-sig") as file:
            for line in csv.DictReader(file):
                yield int(line["id"]), str(photos.csv.parent / line["path"])

    insert = (
        pipe.input("csv_file")
        .flat_map("csv_file", ("id", "path"), read_csv)
        .map("path", "img", ops.image_decode.cv2("rgb"))
        .map("img", "vec", ops.image_text_embedding.clip(model_name="builtin", modality="image", device=-1))
        .map("vec", "vec", lambda x: x / np.linalg.norm(x))
        .map(("id", "vec"), (), ops.ann_insert.milvus_client(**address, collection_name=settings.collection))
        .output()
    )
    insert(str(photos.csv))
    insert.flush()
    client.load_collection(settings.collection)

    with open(photos.csv, encoding="utf-8") as file:
        id_to_path = {int(row["id"]): row["path"] for row in csv.DictReader(file)}
    embed_image = ops.image_text_embedding.clip(model_name="builtin", modality="image")
    find = ops.ann_search.milvus_client(
        **address, collection_name=settings.collection, limit=3, output_fields=["id"], metric_type="L2"
    )
    query = (
        pipe.input("path")
        .map("path", "img", ops.image_decode.cv2("rgb"))
        .map("img", "vec", embed_image)
        .map("vec", "vec", ops.towhee.np_normalize())
        .map("vec", "result", find)
        .map("result", "image_paths", lambda rows: [id_to_path[row[0]] for row in rows])
        .output("path", "image_paths", "result")
    )
    (found,) = DataCollection(query(str(photos.paths[4]))).to_list()
    assert found.image_paths[0] == "photos/00004.jpg"
    assert len(found.result) == 3
    assert found.result[0] == [4, pytest.approx(0, abs=1e-3), 4]

    text_query = (
        pipe.input("text")
        .map("text", "vec", ops.image_text_embedding.clip(model_name="builtin", modality="text"))
        .map("vec", "vec", lambda x: x / np.linalg.norm(x))
        .map("vec", "result", find)
        .output("result")
    )
    assert len(text_query("a white dog").get()[0]) == 3


def test_one_bad_image_costs_a_tutorial_pipeline_one_row(lite: Settings, photos: Photos) -> None:
    client = make_tutorial_collection(lite)
    photos.paths[5].write_bytes(b"not an image")
    rows = list(enumerate(map(str, [*photos.paths, photos.folder / "missing.jpg"])))
    insert = (
        pipe.input("rows")
        .flat_map("rows", ("id", "path"), lambda rows: rows)
        .map("path", "img", ops.image_decode.cv2("rgb"))
        .map("img", "vec", ops.image_text_embedding.clip(model_name="builtin", modality="image"))
        .map("vec", "vec", ops.towhee.np_normalize())
        .map(("id", "vec"), (), ops.ann_insert.milvus_client(uri=lite.uri, collection_name=lite.collection))
        .output()
    )
    insert(rows)
    client.load_collection(lite.collection)
    stored = {row["id"] for row in client.query(lite.collection, filter="id >= 0", output_fields=["id"])}
    assert stored == set(range(12)) - {5}


def test_clip_embeds_one_item_as_it_embeds_many(photos: Photos) -> None:
    decode = ImageDecode("rgb", size=SIDE)
    embed = ClipEmbedding("builtin", "image", device="cpu")
    images = decode([str(path) for path in photos.paths])
    together = Normalize()(embed(images))
    one_by_one = np.stack([Normalize()(embed(image)) for image in images])
    assert together.shape == (12, 256)
    assert together.dtype == np.float32
    assert (together * one_by_one).sum(axis=1).min() > 0.999


def test_clip_takes_images_of_any_size(photos: Photos) -> None:
    """An image that was decoded in full gives the embedding of one that was decoded to the model's size."""
    embed = ClipEmbedding("builtin", "image")
    full, fitted = ImageDecode("rgb")(str(photos.paths[0])), ImageDecode("rgb", size=SIDE)(str(photos.paths[0]))
    assert full.shape == (72, 96, 3)
    np.testing.assert_allclose(embed(full), embed(fitted), rtol=0, atol=1e-6)


def test_undecodable_images_embed_to_nan_and_leave_the_others_alone(photos: Photos) -> None:
    decode, embed = ImageDecode("rgb", size=SIDE, reasons=True), ClipEmbedding("builtin", "image")
    images, reasons = decode([str(photos.paths[0]), "/nowhere.jpg", str(photos.paths[1])])
    embeddings = embed(images)
    assert reasons == ["", "no such file", ""]
    assert np.isnan(embeddings[1]).all()
    assert np.isfinite(embeddings[[0, 2]]).all()


def test_models_are_loaded_once() -> None:
    assert load_model("builtin") is load_model("builtin")
    assert ClipEmbedding("builtin", "image")._model is ClipEmbedding("builtin", "text")._model


def test_normalize_gives_unit_rows_and_nan_for_zero() -> None:
    rows = Normalize()(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(rows[0], [0.6, 0.8])
    assert np.isnan(rows[1]).all()


def test_insert_refuses_a_wrong_number_of_values(lite: Settings) -> None:
    make_tutorial_collection(lite, dim=4)
    with pytest.raises(ValueError, match="3 values for the 2 fields id, embedding"):
        MilvusInsert(uri=lite.uri, collection_name=lite.collection)(1, np.ones(4), "label")


def test_upsert_operator_leaves_out_rows_without_a_finite_embedding(lite: Settings) -> None:
    from pipelines.milvus.collection import Collection

    collection = Collection(lite.uri, lite.collection)
    collection.create(4, ())
    row = {"path": "a.jpg", "_mtime_ns": 0, "_size": 0, "_model": "m", "_hash": "", "_source": ""}
    embeddings = np.array([[1, 0, 0, 0], [np.nan] * 4], np.float32)
    assert MilvusUpsert(collection)([{"id": 1, **row}, {"id": 2, **row}], embeddings) == [True, False]
    assert collection.count() == 1


def test_profiler_works_on_a_pipeline_and_times_the_operator() -> None:
    slow = pipe.input("x").map("x", "y", lambda x: time.sleep(0.05)).output("y")
    reports = slow.debug(1, profiler=True).profiler.pipes_profiler[0].node_report.values()
    assert max(report["call_op"] for report in reports) >= 0.05


def test_an_unknown_model_is_refused_with_the_most_similar_name() -> None:
    from pipelines.errors import InputError

    with pytest.raises(InputError, match=r"did you mean clip_vit_large_patch14\?"):
        ClipEmbedding("clip_vit_huge", "text")


def test_path_objects_are_decoded(photos: Photos) -> None:
    assert ImageDecode("bgr")(Path(photos.paths[0])).shape == (72, 96, 3)
