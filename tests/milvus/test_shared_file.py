"""A Milvus Lite file that this program and other code of the same process use at the same time, as notebooks do."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pymilvus import MilvusClient

from pipelines import Searcher, Settings, ops, pipe, run_insert
from pipelines.errors import StoreLocked
from pipelines.milvus.connection import close, connect
from tests.support.photos import Photos
from tests.support.program import program_env, run_code

# The notebook opens the file and searches; then the program does; then both again, after a change.
NOTEBOOK_FIRST = """
import json, sys
from pymilvus import MilvusClient

def search(client):
    return sorted(hit["id"] for hit in client.search("images", data=[[1.0] * 256], limit=20)[0])

client = MilvusClient(sys.argv[1])
client.load_collection("images")
found = [search(client)]
if sys.argv[2] == "closed":
    client.close()
from pipelines import Searcher, Settings
searcher = Searcher(Settings(uri=sys.argv[1]))
found.append(sorted(hit.id for hit in searcher.by_text("red", 20).hits))
client = MilvusClient(sys.argv[1])
client.delete("images", ids=[3])
found += [search(client), sorted(hit.id for hit in searcher.by_text("red", 20).hits)]
print(json.dumps(found))
"""


@pytest.mark.parametrize("state", ["open", "closed"])
def test_a_notebook_that_opened_the_file_first_shares_it(lite: Settings, photos: Photos, state: str) -> None:
    run_insert(photos.csv, lite)
    close(lite.uri)
    done = run_code(NOTEBOOK_FIRST, lite.uri, state)
    assert done.status == 0, done.err
    all_of_them, without = list(range(12)), [number for number in range(12) if number != 3]
    assert json.loads(done.out) == [all_of_them, all_of_them, without, without]


@pytest.mark.long
@pytest.mark.parametrize("first", ["link/shared.db", "shared.db"])
def test_operators_and_a_client_of_the_same_process_see_each_others_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Even by two paths to the same file, and whichever closes first."""
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    client = MilvusClient(first)
    client.create_collection("tutorial", dimension=4, auto_id=False)
    address = {"uri": "shared.db", "collection_name": "tutorial"}
    insert = pipe.input("id", "vec").map(("id", "vec"), "n", ops.ann_insert.milvus_client(**address)).output("n")
    for number in range(3):
        insert(number, np.eye(4, dtype=np.float32)[number])
    assert [row["id"] for row in client.query("tutorial", filter="id >= 0", output_fields=["id"])] == [0, 1, 2]
    search = pipe.input("vec").map("vec", "hits", ops.ann_search.milvus_client(**address, limit=1)).output("hits")
    assert search(np.eye(4, dtype=np.float32)[1]).get()[0][0][0] == 1
    close("shared.db")
    assert client.has_collection("tutorial")
    client.close()
    assert connect("shared.db").has_collection("tutorial")


def test_a_client_that_came_second_keeps_the_file_open(lite: Settings, photos: Photos) -> None:
    run_insert(photos.csv, lite)
    client = MilvusClient(lite.uri)
    close(lite.uri)
    assert client.list_collections() == ["images"]
    client.close()
    assert Searcher(lite).by_text("red", 5).hits
    close(lite.uri)
    ask = [sys.executable, "-m", "pipelines", "info", "--uri", lite.uri, "--json"]
    done = subprocess.run(ask, env=program_env(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, json.loads(done.stdout)["rows"]) == (0, 12)


def test_a_lock_of_this_process_is_never_called_another_process(tmp_path: Path) -> None:
    path = tmp_path / "held.db"
    path.mkdir()
    with open(path / "LOCK", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreLocked, match="open in this process already") as caught:
            connect(str(path))
    assert str(os.getpid()) not in str(caught.value)
