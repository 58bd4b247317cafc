"""Collections made by the Milvus quickstart and Towhee's tutorials are searched, with the model that made them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from pymilvus import DataType, MilvusClient

from app.application import build_app
from app.library import Library
from pipelines import Searcher, Settings, run_insert
from pipelines.errors import CollectionNotFound, InputError, StoreError
from pipelines.images.decode import decode
from pipelines.milvus.connection import close, connect
from pipelines.models.clip import load_model
from pipelines.query import Query
from pipelines.search.facets import Value
from tests.support.photos import Photos, write_csv
from tests.support.program import CommandResult


@pytest.fixture
def embeddings(photos: Photos) -> np.ndarray:
    """Return the embeddings of the images, float32[12, dim], of unit length."""
    found = load_model("builtin").embed_images(np.stack([decode(path.read_bytes(), 160) for path in photos.paths]))
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    uri = str(tmp_path / "foreign.db")
    yield Settings(uri=uri, collection="demo", model="builtin")
    close(uri)


@pytest.fixture
def client(settings: Settings) -> MilvusClient:
    return connect(settings.uri)


def quickstart(client: MilvusClient, photos: Photos, vectors: np.ndarray) -> None:
    """Create a collection as the quickstart does: an id, a vector, and everything else in the dynamic field."""
    client.create_collection("demo", dimension=vectors.shape[1])
    rows = zip(photos.paths, vectors, strict=True)
    client.insert(
        "demo",
        [{"id": n, "vector": vector.tolist(), "filepath": str(path), "colour": "red" if n % 2 else "blue", "size": n}
         for n, (path, vector) in enumerate(rows)],
    )  # fmt: skip


def tutorial(client: MilvusClient, vectors: np.ndarray, metric: str = "L2") -> None:
    """Create a collection as Towhee's first tutorial does: an id and an embedding; the images are in a CSV."""
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=vectors.shape[1])
    params = client.prepare_index_params()
    params.add_index("embedding", index_type="IVF_FLAT", metric_type=metric, params={"nlist": 16})
    client.create_collection("demo", schema=schema, index_params=params)
    client.insert("demo", [{"id": n, "embedding": vector.tolist()} for n, vector in enumerate(vectors)])


def best(photos: Photos, embeddings: np.ndarray, text: str) -> list[int]:
    """Return the ids of all images, nearest to the text first."""
    query = load_model("builtin").embed_texts([text])[0]
    return np.argsort(-(embeddings @ query)).tolist()


def test_a_collection_of_the_quickstart_is_searched(
    settings: Settings, client: MilvusClient, photos: Photos, embeddings: np.ndarray
) -> None:
    quickstart(client, photos, embeddings)
    searcher = Searcher(settings)
    hits = searcher.by_text("a red square", limit=12).hits
    assert [hit.id for hit in hits] == best(photos, embeddings, "a red square")
    assert [hit.path for hit in hits] == [str(photos.paths[int(hit.id)]) for hit in hits]
    assert hits[0].fields == {"colour": "red" if int(hits[0].id) % 2 else "blue", "size": hits[0].id}
    some = searcher.by_text("a red square", limit=12, filter='colour == "red" and size > 4').hits
    assert {hit.id for hit in some} == {5, 7, 9, 11}
    under = searcher.by_text("a red square", limit=12, filter=f'path under "{photos.folder}"').hits
    assert len(under) == 12
    listed = searcher.search(Query(filter='colour == "red"', order="size:desc", limit=4))
    assert ([hit.id for hit in listed.hits], listed.total) == ([11, 9, 7, 5], 6)
    assert [hit.path for hit in listed.hits] == [str(photos.paths[int(hit.id)]) for hit in listed.hits]
    inside = searcher.search(Query(filter=f'path under "{photos.folder}"', order="name", limit=12)).hits
    assert [hit.path for hit in inside] == sorted(map(str, photos.paths))
    assert searcher.facets().columns[0].values == (Value("blue", 6), Value("red", 6))
    assert searcher.similar_to(3, limit=2).hits[0].id != 3
    assert searcher.by_image(photos.paths[6], limit=1).hits[0].id == 6


def test_a_collection_without_paths_takes_them_from_a_csv(
    settings: Settings, client: MilvusClient, photos: Photos, embeddings: np.ndarray, tmp_path: Path
) -> None:
    tutorial(client, embeddings)
    paths = write_csv(tmp_path / "paths.csv", ["id", "path"], list(enumerate(photos.paths)))
    hits = Searcher(replace(settings, paths=str(paths))).by_image(photos.paths[2], limit=3).hits
    assert (hits[0].id, hits[0].path) == (2, str(photos.paths[2]))
    first = Searcher(replace(settings, paths=str(paths))).search(Query(order="path", limit=1)).hits[0]
    assert first.path == str(photos.paths[0])
    assert hits[0].score == pytest.approx(1, abs=0.01)  # the cosine, although the metric type is L2
    assert Searcher(settings).by_image(photos.paths[2], limit=1).hits[0].path == ""


@pytest.mark.long
def test_the_page_and_the_api_show_it(
    settings: Settings, client: MilvusClient, photos: Photos, embeddings: np.ndarray
) -> None:
    quickstart(client, photos, embeddings)
    with TestClient(build_app(Library(settings)), base_url="http://127.0.0.1:7860") as page:
        found = page.get("/api/search?q=a+red+square&k=3").json()["hits"]
        assert [hit["id"] for hit in found] == best(photos, embeddings, "a red square")[:3]
        assert page.get(f"/thumb/{found[0]['id']}").headers["content-type"].startswith("image/")
        assert page.get("/api/info").json()["rows"] == 12
        assert page.get("/").status_code == 200


def test_the_command_line_shows_it_and_never_writes(
    settings: Settings,
    client: MilvusClient,
    photos: Photos,
    embeddings: np.ndarray,
    quick_command: Callable[..., CommandResult],
) -> None:
    quickstart(client, photos, embeddings)
    with pytest.raises(StoreError, match="was not made by this program; choose another collection"):
        run_insert(photos.csv, settings)
    close(settings.uri)
    place = ("--uri", settings.uri, "--collection", "demo")
    shown = json.loads(quick_command("search", "a red square", *place, "--model", "builtin", "--json", "-k", "2").out)
    assert [hit["id"] for hit in shown] == best(photos, embeddings, "a red square")[:2]
    unnamed = quick_command("search", "a red square", *place)
    assert (unnamed.status, unnamed.err.count("\n")) == (2, 1)
    assert "say which model made it (--model)" in unnamed.err


def test_a_model_that_cannot_have_made_it_is_refused(
    settings: Settings, client: MilvusClient, photos: Photos, embeddings: np.ndarray
) -> None:
    quickstart(client, photos, embeddings[:, :64])
    with pytest.raises(InputError, match=r"64 dimensions, those of builtin have \d+: another model made it"):
        Searcher(settings)


@pytest.mark.parametrize("metric", ["L2", "IP"])
def test_embeddings_that_are_not_of_unit_length_are_refused(
    settings: Settings, client: MilvusClient, embeddings: np.ndarray, metric: str
) -> None:
    tutorial(client, embeddings * 3, metric)
    with pytest.raises(InputError, match=f"metric type {metric} and embeddings that are not of unit length"):
        Searcher(settings)


def test_an_empty_one_is_empty(settings: Settings, client: MilvusClient) -> None:
    client.create_collection("demo", dimension=load_model("builtin").spec.dim)
    with pytest.raises(CollectionNotFound, match="empty"):
        Searcher(settings)
