"""The HTTP API beside the page: what it answers, and that every error is one line of JSON with the right status."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from prometheus_client import CollectorRegistry, Gauge

from app.api.refusals import Busy, answer_to
from app.api.routes import Slots
from app.application import build_app
from app.library import Library
from app.media import convert_sent
from pipelines import Settings, __version__
from pipelines.errors import ModelError, SearchError, StoreError, StoreLocked
from pipelines.milvus.connection import close
from pipelines.search.present import Present
from pipelines.search.searcher import Searcher
from tests.support.page import BIG_ID, HOSTILE_LABEL, IMAGES, Collection, image_folder, make_collection

ROWS = 17
CAT = image_folder() / "chelsea.png"


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return make_collection(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def client(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    uri = collection.copy_to(tmp_path_factory.mktemp("db"))
    app = build_app(Library(Settings(uri=uri, rate_limit=0)))
    with TestClient(app, base_url="http://127.0.0.1:7860", raise_server_exceptions=False) as client:
        yield client
    close(uri)


def found(answer: Any) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


def test_search_by_words(client: TestClient) -> None:
    answer = client.get("/api/search", params={"q": "a cat -people", "k": 3})
    body = answer.json()
    assert answer.status_code == 200
    assert [hit["rank"] for hit in body["hits"]] == [1, 2, 3]
    hit = body["hits"][0]
    assert set(hit) == {"rank", "id", "id_text", "score", "path", "folded", "fields", "thumb", "image"}
    assert hit["id_text"] == str(hit["id"])
    assert {client.get(hit["thumb"]).status_code for hit in body["hits"]} <= {200, 404}  # two files are gone
    assert (body["rows"], body["has_more"], body["notes"]) == (ROWS, True, [])
    assert 0 < body["seconds"]["embed"] < body["seconds"]["total"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_pages_filters_minimum_score_and_folding(client: TestClient) -> None:
    whole = client.get("/api/search", params={"q": "dog", "k": 50}).json()
    assert len(whole["hits"]) == ROWS
    page = client.get("/api/search", params={"q": "dog", "k": 5, "offset": 10}).json()
    assert page["hits"] == whole["hits"][10:15]
    least = whole["hits"][4]["score"] - 1e-6
    assert found(client.get("/api/search", params={"q": "dog", "k": 50, "min_score": least})) == [
        hit["id"] for hit in whole["hits"][:5]
    ]
    folded = client.get("/api/search", params={"q": "dog", "k": 50, "fold": 0.6}).json()["hits"]
    assert len(folded) + sum(hit["folded"] for hit in folded) == ROWS
    assert len(folded) < ROWS
    textures = client.get("/api/search", params={"q": "dog", "k": 50, "filter": 'label == "texture"'})
    assert len(found(textures)) == 3


def test_search_by_json_parts(client: TestClient, collection: Collection) -> None:
    image = base64.b64encode(CAT.read_bytes()).decode()
    parts = [{"image": image, "weight": 4}, {"text": "a rocket", "weight": -0.5}, {"id": str(BIG_ID)}, {"id": -5}]
    answer = client.post("/api/search", json={"q": "at night", "parts": parts, "k": 50})
    assert found(answer)[0] == collection.ids["cat"]
    assert not {BIG_ID, -5} & set(found(answer))
    assert found(client.post("/api/search", json={"parts": [{"id": BIG_ID}]})) == found(
        client.get(f"/api/similar/{BIG_ID}")
    )


def test_search_by_form_with_images(client: TestClient, collection: Collection) -> None:
    files = [
        ("image", ("a.png", CAT.read_bytes())),
        ("image", ("b.jpg", (image_folder() / "rocket.jpg").read_bytes())),
    ]
    data = {"q": "at night", "weight": ["-1", "1"], "k": "3"}
    answer = client.post("/api/search", files=files, data=data)
    assert found(client.post("/api/search/form", files=files, data=data)) == found(answer)
    assert found(answer)[0] == collection.ids["rocket"]
    assert collection.ids["cat"] not in found(answer)


def test_similar_leaves_itself_out(client: TestClient, collection: Collection) -> None:
    cat = collection.ids["cat"]
    similar = found(client.get(f"/api/similar/{cat}", params={"k": 50}))
    assert len(similar) == ROWS - 1
    assert cat not in similar


def test_results_as_csv(client: TestClient) -> None:
    answer = client.get("/api/search", params={"q": "dog", "k": 50, "format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    assert answer.text.splitlines()[0] == "rank,id,score,path,label,year,kind,outdoors,note,shot on"
    assert str(BIG_ID) in answer.text


def test_hostile_labels_stay_json(client: TestClient) -> None:
    answer = client.get("/api/similar/102", params={"k": 50})
    assert answer.headers["content-type"] == "application/json"
    assert HOSTILE_LABEL in {hit["fields"]["label"] for hit in answer.json()["hits"]}


def test_info_probes_and_metrics(client: TestClient) -> None:
    info = client.get("/api/info").json()
    assert (info["rows"], info["dim"]) == (ROWS, 256)
    types = {column["name"]: column["type"] for column in info["columns"]}
    assert types == {
        "label": "text",
        "year": "int",
        "kind": "text",
        "outdoors": "bool",
        "note": "text",
        "shot on": "date",
    }
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/readyz").json()["status"] == "ok"
    client.get("/api/search", params={"q": "x"})
    client.get("/secret-path-of-a-client")
    text = client.get("/metrics").text
    assert 'image_search_disk_bytes{kind="uploads"} 0.0' in text
    for pattern in (
        r'image_search_requests_total\{method="GET",route="/api/search",status="200"\} [1-9]',
        r'image_search_request_seconds_bucket\{le="0.05",route="/api/search"\} ',
        r'image_search_step_seconds_count\{step="embed"\} [1-9]',
        rf"image_search_rows {ROWS}\.0",
        r'image_search_queue\{state="waiting"\} 0\.0',
        r"process_resident_memory_bytes ",
    ):
        assert re.search(pattern, text), pattern
    assert "secret-path" not in text


def test_a_probe_asks_nobody(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads neither Milvus nor the collection, so a million rows do not slow it. `Present.get` leads to both."""
    monkeypatch.setattr("app.api.readiness._OLD_SECONDS", 600)
    assert client.get("/readyz").status_code == 200
    asked, present = list[str](), Present.get

    def noted(opened: Present) -> Any:
        asked.append(threading.current_thread().name)
        return present(opened)

    monkeypatch.setattr(Present, "get", noted)
    assert client.get("/api/info").status_code == 200
    assert [name for name in asked if "(watch)" not in name], "nothing is noted: this test would see nothing"
    asked.clear()
    assert {client.get(probe).status_code for _ in range(20) for probe in ("/readyz", "/healthz")} == {200}
    assert not [name for name in asked if "(watch)" not in name]  # only the background thread reads them


def test_a_bug_does_not_end_the_thread_that_keeps_readiness_current(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def wait_for(status: int) -> Any:
        for _ in range(500):
            if (answer := client.get("/readyz")).status_code == status:
                return answer.json()
            time.sleep(0.02)
        raise AssertionError(answer.text)

    def fail(searcher: Searcher) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("app.api.readiness._OLD_SECONDS", 600)  # only the thread asks
    with monkeypatch.context() as broken:
        broken.setattr(Searcher, "probe", fail)
        assert wait_for(503)["reason"] == "no search is possible"
    assert wait_for(200)["status"] == "ok"
    assert "ZeroDivisionError" in caplog.text


def test_a_filter_without_words_lists_its_images(client: TestClient) -> None:
    body = client.get("/api/search", params={"filter": "year >= 2000", "sort": "year:desc", "k": 3}).json()
    years = [hit["fields"]["year"] for hit in body["hits"]]
    assert years == sorted(years, reverse=True)
    assert {hit["score"] for hit in body["hits"]} == {None}
    assert (body["sort"], body["above"], body["suggestions"]) == ("year:desc", None, [])
    assert len(years) <= body["total"] <= body["rows"] == ROWS
    again = client.get("/api/search", params={"filter": "year >= 2000", "k": ROWS}).json()
    assert len(again["hits"]) == again["total"] == body["total"]
    searched = client.get("/api/search", params={"q": "cat", "filter": "year >= 2000", "min_score": -1, "k": 2}).json()
    assert searched["total"] == searched["above"] == body["total"]


def test_facets(client: TestClient) -> None:
    whole = client.get("/api/facets").json()
    assert (whole["total"], whole["rows"]) == (ROWS, ROWS)
    columns = {column["name"]: column for column in whole["columns"]}
    labels = {value["value"]: value["count"] for value in columns["label"]["values"]}
    assert sum(labels.values()) + columns["label"]["empty"] == ROWS
    first = next(iter(labels))
    part = client.get("/api/facets", params={"filter": f"label == {json.dumps(first)}", "column": "year"}).json()
    assert part["total"] == labels[first]
    assert [column["name"] for column in part["columns"]] == ["year"]
    mistyped = client.get("/api/facets", params={"filter": f"label == {json.dumps(first + 'x')}"}).json()
    assert mistyped["suggestions"][0]["nearest"][0] == first
    hits = found(client.get("/api/search", params={"q": "cat", "k": 4}))
    assert client.get("/api/facets", params={"id": hits}).json()["total"] == 4


BAD_REQUESTS = [
    ({"q": "  "}, 400, "some words"), ({"q": "dog -dog"}, 400, "cancel"), ({"q": "0*dog"}, 400, "weight"),
    ({"q": "x", "filter": "label = 1"}, 400, "filter, character 7"), ({"q": "id:999"}, 404, "no image with id 999"),
    ({"q": "x", "filter": "nope == 1"}, 400, "the columns are: path, id, label, year, kind, outdoors, note, `shot on`"),
    ({}, 400, "some words"), ({"sort": "nope"}, 400, "no column 'nope'"),
    ({"q": "x", "k": "0"}, 422, "k"), ({"q": "x", "k": "x"}, 422, "k"),
    ({"q": "x", "min_score": "nan"}, 422, "min_score"), ({"q": "x", "fold": "2"}, 422, "fold"),
    ({"q": "x", "offset": "16384"}, 400, "first 16384"), ({"q": "x", "format": "xml"}, 422, "format"),
    ({"q": "y" * 4001}, 422, "q"), ({"q": "x", "sort": "relevance:asc"}, 400, "one direction"),
    ({"q": "x", "best": "0"}, 422, "best"), ({"q": "beach nope:2021"}, 400, "no column 'nope'"),
]  # fmt: skip


@pytest.mark.parametrize(("params", "status", "reason"), BAD_REQUESTS)
def test_what_is_wrong_is_one_line(client: TestClient, params: dict[str, str], status: int, reason: str) -> None:
    answer = client.get("/api/search", params=params)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert reason in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415),
        ({"content": b"x"}, 415),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400),
        ({"content": b"--b\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, 400),
        ({"json": []}, 422), ({"json": {}}, 400), ({"json": {"q": "x", "colour": 1}}, 422),
        ({"json": {"parts": [{"text": "a", "id": 1}]}}, 400), ({"json": {"parts": [{"id": True}]}}, 422),
        ({"json": {"parts": [{"id": 1.0}]}}, 422), ({"json": {"parts": [{"id": 2**63}]}}, 422),
        ({"json": {"parts": [{"image": "abcde"}]}}, 422), ({"json": {"parts": [{"image": "aGk="}]}}, 415),
        ({"json": {"parts": [{"text": "x"}] * 33}}, 422),
        ({"content": b'{"q": "\\ud800"}', "headers": {"Content-Type": "application/json"}}, 400),
        ({"files": {"image": ("a.svg", b"<svg/>")}}, 415), ({"files": {"image": ("a.png", b"")}}, 415),
        ({"files": {"image": ("a.png", b"x")}, "data": {"weight": ["1", "2"]}}, 422),
        ({"files": {"image": ("a.png", b"x")}, "data": {"weight": "heavy"}}, 422),
        ({"files": {"q": ("a.png", b"x")}}, 422),
        ({"files": {"image": ("a", b"x")}, "data": {"image": "/etc/passwd"}}, 422),
        ({"files": {"image": ("a", b"x")}, "data": {"path": "/etc/passwd"}}, 422),
        ({"files": [("image", ("a", b"x"))] * 17}, 400),
    ],
)  # fmt: skip
def test_posts_that_cannot_be_answered(client: TestClient, sent: dict[str, Any], status: int) -> None:
    answer = client.post("/api/search", **sent)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert "passwd" not in answer.text


@pytest.mark.parametrize("image_id", ["999", "-1", "x", "1.0", str(2**63), "٣"])
def test_similar_to_nothing_is_404(client: TestClient, image_id: str) -> None:
    assert client.get(f"/api/similar/{image_id}").status_code == 404


@pytest.mark.parametrize("image_id", [1.0, True, 2**63, None, [1]])
def test_similar_to_what_is_no_id(client: TestClient, image_id: object) -> None:
    answer = client.post("/api/search", json={"parts": [{"id": image_id}]})
    assert answer.status_code in (400, 422)
    assert "id" in answer.json()["error"]


def test_no_collection_is_not_ready(tmp_path: Path) -> None:
    app = build_app(Library(Settings(uri=str(tmp_path / "none.db"), model="builtin")))
    with TestClient(app, base_url="http://127.0.0.1:7860") as client:
        assert client.get("/healthz").status_code == 200
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["reason"]) == (503, "there is no collection, or it is empty")
        refused = client.get("/api/search", params={"q": "x"})
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert str(tmp_path) not in refused.text


@pytest.mark.parametrize("kind", [StoreError, StoreLocked, ModelError])
def test_what_fails_here_is_not_told_in_paths_and_addresses(kind: type[SearchError]) -> None:
    answer = answer_to(kind("/home/me/search.db is open in another process (pid 12: image-search serve)"))
    assert answer.status_code == 503
    assert bytes(answer.body) == b'{"error":"the database or the model does not answer"}'


def test_unexpected_error_is_a_reference_into_the_log(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: object, query: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("pipelines.search.searcher.Searcher.search", broken)
    answer = client.get("/api/search", params={"q": "x"})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["error"].split()[-1] in caplog.text
    assert "secret detail" in caplog.text


def test_openapi_has_every_route_with_examples(client: TestClient) -> None:
    document = client.get("/api/openapi.json").json()
    assert document["info"]["version"] == __version__
    paths = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert {
        ("/api/search", "get"), ("/api/search", "post"), ("/api/similar/{id}", "get"), ("/api/info", "get"),
        ("/healthz", "get"), ("/readyz", "get"), ("/metrics", "get"), ("/thumb/{id}", "get"),
        ("/image/{id}", "get"),
    } <= paths  # fmt: skip
    assert document["components"]["schemas"]["SearchRequest"]["examples"]
    for path, media_type in (("/api/search", "application/json"), ("/api/search/form", "multipart/form-data")):
        assert list(document["paths"][path]["post"]["requestBody"]["content"]) == [media_type]


@pytest.mark.long
def test_many_users_get_their_own_answers(client: TestClient, collection: Collection) -> None:
    """Each of 24 threads searches for other words, and gets the answers of the same searches made alone."""
    texts = [f"{label} {number}" for number, label in enumerate(IMAGES.values())]
    alone = {text: client.get("/api/search", params={"q": text, "k": 17}).json()["hits"] for text in texts}
    assert len({str(hits) for hits in alone.values()}) == len(texts)
    wrong: list[str] = []

    def ask(number: int) -> None:
        for step in range(6):
            text = texts[(number + step) % len(texts)]
            hits = client.get("/api/search", params={"q": text, "k": 17}).json()["hits"]
            same = [(hit["id"], pytest.approx(hit["score"], abs=1e-5)) for hit in alone[text]]
            if [(hit["id"], hit["score"]) for hit in hits] != same:
                wrong.append(text)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_decompression_bomb_is_refused_before_it_is_decoded(client: TestClient) -> None:
    import resource

    out = io.BytesIO()
    Image.fromarray(np.zeros((13_000, 13_000), np.uint8)).save(out, "PNG", optimize=False, compress_level=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = client.post("/api/search", files={"image": ("bomb.png", out.getvalue())})
    assert answer.status_code == 415
    assert "too many pixels (13000×13000)" in answer.json()["error"]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


@pytest.mark.long
def test_query_images_of_one_client_are_decoded_one_by_one(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise one client with slow images would take all places."""
    real, lock = convert_sent, threading.Lock()
    inside, most = 0, 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        try:
            time.sleep(0.2)  # long enough for all ten to be in here together
            return real(*arguments, **options)
        finally:
            with lock:
                inside -= 1

    monkeypatch.setattr("app.api.routes.convert_sent", counted)
    out = io.BytesIO()
    Image.fromarray(np.full((60, 80, 3), 99, np.uint8)).save(out, "PNG")
    with ThreadPoolExecutor(10) as pool:
        asked = [pool.submit(client.post, "/api/search", files={"image": ("a.png", out.getvalue())}) for _ in range(10)]
        assert {answer.result().status_code for answer in asked} == {200}
    assert most == 1
    monkeypatch.setattr("app.api.routes.convert_sent", real)
    monkeypatch.setattr(real, "_seconds", 0.0)
    answer = client.post("/api/search", files={"image": ("a.png", out.getvalue())})
    assert (answer.status_code, "takes more than 0 s" in answer.text) == (415, True)


def test_too_many_waiting_searches_are_refused() -> None:
    gauge = Gauge("queue", "x", ["state"], registry=CollectorRegistry())
    release = threading.Event()
    outcomes: list[str] = []

    async def ask(slots: Slots) -> None:
        try:
            await slots.run(lambda: release.wait(10))
            outcomes.append("done")
        except Busy:
            outcomes.append("busy")

    async def main() -> None:
        slots = Slots(gauge, running=2, waiting=3)
        async with anyio.create_task_group() as group:
            for _ in range(7):
                group.start_soon(ask, slots)
                await anyio.sleep(0.02)
            states = {sample.labels["state"]: sample.value for sample in next(iter(gauge.collect())).samples}
            outcomes.append(str(states == {"waiting": 3.0, "running": 2.0}))
            release.set()

    anyio.run(main)
    assert outcomes == ["busy", "busy", "True", *["done"] * 5]


def test_images_are_searched_for_two_at_a_time_and_one_of_a_client() -> None:
    begun, release = list[str](), threading.Event()

    def search(client: str) -> None:
        begun.append(client)
        release.wait(10)

    async def main() -> None:
        slots = Slots(Gauge("queue", "x", ["state"], registry=CollectorRegistry()))
        async with anyio.create_task_group() as group:
            for client in "aaabbcd":
                group.start_soon(slots.run, partial(search, client), client)
            await anyio.sleep(0.3)  # long enough for another one to begin
            assert sorted(begun) == ["a", "b"]
            release.set()

    anyio.run(main)
    assert sorted(begun) == [*"aaabbcd"]
