"""Operators under the hub's names, in pipelines as the public tutorials write them."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from pipelines import Settings, ops, pipe
from tests.support.photos import Photos
from tests.support.tutorial import make_tutorial_collection


def milvus_address(settings: Settings) -> dict[str, str]:
    """Return host and port of a server, as the tutorial gives them, or the `uri` of a Lite file."""
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
