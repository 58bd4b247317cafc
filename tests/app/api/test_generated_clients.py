"""Clients that two generators make from the OpenAPI document search a running page, by GET and by POST."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import start_page, stop_page
from tests.support.page import Collection, image_folder, make_collection

pytestmark = pytest.mark.slow

# Each is installed into an environment of its own, because the program needs neither.
OPENAPI_PYTHON_CLIENT = "openapi-python-client==0.29.1"
OPENAPI_GENERATOR = "openapi-generator-cli==7.26.0"  # a Java program

BY_OPENAPI_PYTHON_CLIENT = """
import base64, io, json, sys
from generated import Client
from generated.api.collection import info
from generated.api.images import thumb
from generated.api.probes import readyz
from generated.api.search import search, search_by_form, search_by_parts, similar
from generated.models import PartIn, SearchForm, SearchRequest
from generated.types import File

address, cat, picture = sys.argv[1:]
# It knows no media type of images: such an answer is "unexpected", and all the same its bytes are given.
client, data = Client(base_url=address, raise_on_unexpected_status=True), open(picture, "rb").read()
parts = [PartIn(image=base64.b64encode(data).decode()), PartIn(text="a cat", weight=0.5)]
form = SearchForm(image=[File(io.BytesIO(data), "cat.png", "image/png")], weight=[1.0], k=3)
by_id = SearchRequest(parts=[PartIn(id=cat)], k=3)
print(json.dumps({
    "get": [hit.id for hit in search.sync(client=client, q="a cat", k=3).hits],
    "json": [hit.id for hit in search_by_parts.sync(client=client, body=SearchRequest(parts=parts, k=3)).hits],
    "form": [hit.id for hit in search_by_form.sync(client=client, body=form).hits],
    "id": [hit.id for hit in search_by_parts.sync(client=client, body=by_id).hits],
    "similar": [hit.id for hit in similar.sync(cat, client=client, k=3).hits],
    "fields": search.sync(client=client, q="a cat", filter_='label == "cat"').hits[0].fields.to_dict(),
    "rows": info.sync(client=client).rows, "ready": readyz.sync(client=client).status,
    "thumb": thumb.sync_detailed(cat, client=Client(base_url=address)).content[:4].decode(),
    "wrong": search.sync(client=client, q="a cat", filter_="nope == 1").error,
}))
"""

BY_OPENAPI_GENERATOR = """
import base64, json, sys
import generated
from generated import Id, Id2, PartIn, SearchRequest

address, cat, picture = sys.argv[1:]
client = generated.ApiClient(generated.Configuration(host=address))
search, data = generated.SearchApi(client), open(picture, "rb").read()
parts = [PartIn(image=base64.b64encode(data).decode()), PartIn(text="a cat", weight=0.5)]
ids = lambda answer: [hit.id.actual_instance if hasattr(hit.id, "actual_instance") else hit.id for hit in answer.hits]
try:
    search.search(q="a cat", filter="nope == 1")
except generated.ApiException as error:
    wrong = json.loads(error.body)["error"]
print(json.dumps({
    "get": ids(search.search(q="a cat", k=3)),
    "json": ids(search.search_by_parts(SearchRequest(parts=parts, k=3))),
    "form": ids(search.search_by_form(image=[("cat.png", data)], weight=[1.0], k=3)),
    "id": ids(search.search_by_parts(SearchRequest(parts=[PartIn(id=Id2(cat))], k=3))),
    "similar": ids(search.similar(Id(cat), k=3)),
    "fields": search.search(q="a cat", filter='label == "cat"').hits[0].fields,
    "rows": generated.CollectionApi(client).info().rows, "ready": generated.ProbesApi(client).readyz().status,
    "thumb": bytes(generated.ImagesApi(client).thumb(cat))[:4].decode(),
    "wrong": wrong,
}))
"""


def run(*command: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-2500:]
    return done.stdout


def environment_with(folder: Path, *packages: str) -> Path:
    """Return the folder of programs of a new environment; skip if the package index cannot be reached."""
    run(sys.executable, "-m", "venv", folder)
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet", "install", *packages]
    done = subprocess.run(list(map(str, pip)), capture_output=True, text=True, timeout=280)
    if done.returncode:
        pytest.skip(f"the package index does not give {packages[0]}: {done.stderr[-200:]}")
    return folder / "bin"


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return make_collection(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def address(collection: Collection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("clients")
    program, address = start_page(folder, "--uri", collection.copy_to(folder))
    yield address
    stop_page(program)


@pytest.fixture
def document(address: str, tmp_path: Path) -> Path:
    path = tmp_path / "openapi.json"
    with urllib.request.urlopen(f"{address}/api/openapi.json") as answer:
        path.write_bytes(answer.read())
    return path


def check(output: str, cat: int) -> None:
    """Check that every kind of request finds the cat, and that error messages arrive unchanged."""
    answers = json.loads(output)
    for way in ("get", "json", "form"):
        assert len(answers[way]) == 3, answers
        assert cat in answers[way], answers
    assert len(answers["id"]) == 3
    assert answers["id"] == answers["similar"]
    assert (answers["fields"]["label"], answers["rows"], answers["ready"], answers["thumb"]) == (
        "cat",
        17,
        "ok",
        "RIFF",
    )
    assert answers["wrong"].startswith("filter, character 1")


def test_openapi_python_client(address: str, document: Path, collection: Collection, tmp_path: Path) -> None:
    programs = environment_with(tmp_path / "venv", OPENAPI_PYTHON_CLIENT)
    run(
        programs / "openapi-python-client", "generate", "--path", document, "--meta", "none",
        "--output-path", tmp_path / "generated",
    )  # fmt: skip
    (tmp_path / "use.py").write_text(BY_OPENAPI_PYTHON_CLIENT)
    cat = collection.ids["cat"]
    check(run(programs / "python", tmp_path / "use.py", address, cat, image_folder() / "chelsea.png"), cat)


@pytest.mark.skipif(shutil.which("java") is None, reason="OpenAPI Generator needs Java")
def test_openapi_generator(address: str, document: Path, collection: Collection, tmp_path: Path) -> None:
    needs = ("urllib3>=2.1", "python-dateutil", "pydantic>=2", "typing-extensions")
    programs = environment_with(tmp_path / "venv", OPENAPI_GENERATOR, *needs)
    run(
        programs / "openapi-generator-cli", "generate", "-g", "python", "-i", document, "-o", tmp_path,
        "--package-name", "generated",
    )  # fmt: skip
    (tmp_path / "use.py").write_text(BY_OPENAPI_GENERATOR)
    cat = collection.ids["cat"]
    check(run(programs / "python", tmp_path / "use.py", address, cat, image_folder() / "chelsea.png"), cat)
