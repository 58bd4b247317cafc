"""The replacements of Milvus Lite's functions return what the original functions return, on random histories."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.milvus import lite_fast_path

lite_fast_path.apply()

import milvus_lite  # noqa: E402
from milvus_lite.db import MilvusLite  # noqa: E402
from milvus_lite.engine.collection import Collection  # noqa: E402
from milvus_lite.index import faiss_hnsw, faiss_ivf_flat  # noqa: E402
from milvus_lite.schema.types import CollectionSchema, DataType, FieldSchema  # noqa: E402
from milvus_lite.storage.segment import Segment  # noqa: E402

from pipelines.milvus.lite_fast_path import live_rows, segment  # noqa: E402

PATCH = Path(__file__).parents[2] / "docs/upstream/milvus-lite.patch"
DIM = 8
PARTITIONS = ["_default", "p1", "p2"]
FILTERS = [None, "number < 30", 'number >= 10 and text like "t1%"', "number is null", "number < 0"]
EXTREMES = [-(2**63), 2**63 - 1, -1, 0, 1, 2**62, -(2**62)]
INDEXES = {
    "none": None,
    "flat": {"index_type": "FLAT", "metric_type": "IP"},
    "ivf_flat": {"index_type": "IVF_FLAT", "metric_type": "COSINE", "params": {"nlist": 1}},
    "ivf_sq8": {"index_type": "IVF_SQ8", "metric_type": "COSINE", "params": {"nlist": 2}},
    "hnsw": {"index_type": "HNSW", "metric_type": "L2", "params": {"M": 8}},
}


class Untouched(Collection):  # type: ignore[misc, unused-ignore]
    """A second view of an open collection, with Milvus Lite's own functions, segments and faiss selections."""

    _num_entities = lite_fast_path.untouched["_num_entities"]
    query = lite_fast_path.untouched["query"]
    get = lite_fast_path.untouched["get"]

    def __init__(self, collection: Collection) -> None:
        self.__dict__ = collection.__dict__

    def _read_snapshot(self) -> tuple[tuple[Segment, ...], Any]:
        segments, deletes = lite_fast_path.untouched["_read_snapshot"](self)
        return tuple(map(self._own_segment, segments)), deletes

    def _own_segment(self, kept: Any) -> Any:
        own: Any = kept.__dict__.get("_own")
        if own is None:
            own = kept._own = Segment.load(kept.file_path, kept.partition, self._pk_name, self._vector_name)
        own.indexes, own.scalar_indexes = kept.indexes, kept.scalar_indexes
        return own

    def search(self, *args: Any, **options: Any) -> Any:
        replaced = faiss_ivf_flat.faiss, faiss_hnsw.faiss
        faiss_ivf_flat.faiss = faiss_hnsw.faiss = lite_fast_path.untouched["faiss"]
        try:
            return super().search(*args, **options)
        finally:
            faiss_ivf_flat.faiss, faiss_hnsw.faiss = replaced


class History:
    """A collection and random writes to it."""

    def __init__(self, folder: Path, seed: int, keys: str = "int", index: str = "none", dynamic: bool = False) -> None:
        self.folder, self.keys, self.random = folder, keys, np.random.default_rng(seed)
        key_type = DataType.INT64 if keys == "int" else DataType.VARCHAR
        fields = [
            FieldSchema("key", key_type, is_primary=True, max_length=64),
            FieldSchema("vector", DataType.FLOAT_VECTOR, dim=DIM),
            FieldSchema("number", DataType.INT64, nullable=True),
            FieldSchema("text", DataType.VARCHAR, max_length=64),
        ]
        self.db = MilvusLite(str(folder))
        self.collection = self.db.create_collection("c", CollectionSchema(fields, enable_dynamic_field=dynamic))
        self.dynamic = dynamic
        for name in PARTITIONS[1:]:
            self.collection.create_partition(name)
        if INDEXES[index]:
            self.collection.create_index("vector", INDEXES[index])
            self.collection.load()

    def key(self, number: int) -> Any:
        if self.keys == "int":
            return EXTREMES[number] if number < len(EXTREMES) else number
        return ["", "ä", "zz", "🎈", "a b", "'\""][number] if number < 6 else f"k{number}"

    def rows(self, count: int) -> list[dict[str, Any]]:
        numbers = self.random.integers(0, 60, count).tolist()
        vectors = self.random.standard_normal((count, DIM)).astype(np.float32)
        rows = [
            {"key": self.key(n), "vector": v.tolist(), "number": n if n % 7 else None, "text": f"t{v[0]:.2f}"}
            for n, v in zip(numbers, vectors, strict=True)
        ]
        return [{**row, "extra": n} for row, n in zip(rows, numbers, strict=True)] if self.dynamic else rows

    def write(self) -> None:
        """Make one random write."""
        partition = str(self.random.choice(PARTITIONS))
        count = int(self.random.integers(1, 25))
        step = self.random.choice(["upsert", "insert", "delete", "flush"], p=[0.35, 0.2, 0.2, 0.25])
        if step == "upsert":
            self.collection.upsert(self.rows(count), partition_name=partition)
        elif step == "insert":  # a key may exist already: its newest row wins
            self.collection.insert(self.rows(count), partition_name=partition)
        elif step == "delete":
            keys = [self.key(n) for n in self.random.integers(0, 60, count).tolist()]
            self.collection.delete(keys, partition_name=str(self.random.choice([partition, ""])) or None)
        else:
            self.collection.flush()

    def reopen(self) -> None:
        self.db.close()
        self.db = MilvusLite(str(self.folder))
        self.collection = self.db.get_collection("c")
        self.collection.load()

    def check(self) -> None:
        """Compare every read with the untouched one."""
        self.collection._wait_for_bg()  # its background work may delete files that the untouched segments still read
        plain, count = Untouched(self.collection), int(self.random.integers(1, 3))
        queries = self.random.standard_normal((count, DIM)).tolist()
        assert self.collection.num_entities == plain.num_entities
        for names in (None, PARTITIONS[1:2], PARTITIONS[:2]):
            for expr in FILTERS:
                for reader in ("search", "query", "ordered", "pages"):
                    assert read(self.collection, reader, queries, expr, names) == read(
                        plain, reader, queries, expr, names
                    ), (reader, expr, names)
            assert self.collection._num_entities(names) == plain._num_entities(names)
            keys = [self.key(n) for n in self.random.integers(0, 65, 40).tolist()]
            for fields in (None, ["text"], ["vector", "key"], ["*"]):
                assert self.collection.get(keys, names, output_fields=fields) == plain.get(
                    keys, names, output_fields=fields
                )


def read(collection: Collection, reader: str, queries: Any, expr: str | None, names: list[str] | None) -> Any:
    if reader == "search":
        fields = [None, ["text"], ["*"]][len(expr or "") % 3]
        return collection.search(queries, top_k=12, partition_names=names, expr=expr, output_fields=fields)
    if reader == "query":
        return collection.query(expr, partition_names=names)
    if reader == "ordered":
        return collection.query(expr, ["number"], partition_names=names, limit=7, order_by_pk=True)
    pages = ((5, 3), (0, 0), (0, 2), (3, 500))
    return [collection.query(expr, ["key"], names, limit, offset) for limit, offset in pages]


def test_the_installed_version_is_known() -> None:
    version = metadata.version("milvus-lite")
    assert version in lite_fast_path.KNOWN_VERSIONS, f"add {version} to KNOWN_VERSIONS and run this file"
    assert lite_fast_path.apply()


@pytest.mark.parametrize(
    "index", [name if name in ("none", "flat") else pytest.param(name, marks=pytest.mark.long) for name in INDEXES]
)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_random_histories_read_alike(tmp_path: Path, seed: int, index: str) -> None:
    history = History(tmp_path / "m.db", seed, index=index)
    for _ in range(20):
        history.write()
        history.check()
    history.db.close()


@pytest.mark.long
@pytest.mark.parametrize("dynamic", [False, True])
def test_string_keys_and_dynamic_fields_read_alike(tmp_path: Path, dynamic: bool) -> None:
    history = History(tmp_path / "m.db", 10, "text", "ivf_flat", dynamic)
    for _ in range(20):
        history.write()
        history.check()
    history.db.close()


@pytest.mark.long
@pytest.mark.parametrize("keys", ["int", "text"])
def test_a_reopened_file_reads_alike(tmp_path: Path, keys: str) -> None:
    history = History(tmp_path / "m.db", 20, keys, "ivf_flat")
    for _ in range(6):
        for _ in range(6):
            history.write()
        history.reopen()
        history.check()
    history.db.close()


@pytest.mark.long
def test_compaction_reads_alike(tmp_path: Path) -> None:
    history = History(tmp_path / "m.db", 30, index="ivf_flat")
    merged = False
    for _ in range(20):
        before = len(history.collection._segment_cache)
        history.collection.upsert(history.rows(20))
        history.collection.delete([history.key(n) for n in history.random.integers(0, 60, 5).tolist()])
        history.collection.flush()
        history.check()
        merged |= len(history.collection._segment_cache) < before
    assert merged
    history.db.close()


def test_a_flush_of_deletes_alone_is_seen(tmp_path: Path) -> None:
    history = History(tmp_path / "m.db", 40)
    history.collection.insert([{**row, "key": n} for n, row in enumerate(history.rows(30))])
    history.collection.flush()
    history.check()
    history.collection.delete(list(range(5)))
    history.collection.flush()
    assert history.collection.num_entities == 25
    history.check()
    history.db.close()


def test_a_log_replayed_over_its_own_flush_reads_alike(tmp_path: Path) -> None:
    """A kill after the flush and before its log is deleted leaves the same rows in a segment and in the memtable."""
    history = History(tmp_path / "m.db", 50)
    history.collection.upsert(history.rows(30))
    history.collection.delete([history.key(3)])
    log, kept = history.collection._data_dir + "/wal", tmp_path / "wal"
    shutil.copytree(log, kept)
    history.collection.flush()
    history.collection.upsert(history.rows(10))
    history.collection.delete([history.key(n) for n in range(20, 40)])
    history.db.close()
    shutil.copytree(kept, log, dirs_exist_ok=True)
    history.db = MilvusLite(str(history.folder))
    history.collection = history.db.get_collection("c")
    assert history.collection.count()
    history.check()
    history.db.close()


def test_a_key_that_moves_between_partitions_reads_alike(tmp_path: Path) -> None:
    """Milvus Lite searches one partition without knowing that a newer version is in another."""
    history = History(tmp_path / "m.db", 55)
    row, other = ({**row, "key": key} for key, row in enumerate(history.rows(2)))
    for partition in ("p1", "_default"):
        history.collection.upsert([row, other], partition_name=partition)
        history.collection.flush()
    history.collection.delete([other["key"]])
    history.collection.flush()
    for partition in ("p1", "p2", "p1", "p2"):
        history.check()
        history.collection.upsert([row], partition_name=partition)
    history.check()
    history.db.close()


def test_threads_read_what_was_acknowledged_before(tmp_path: Path) -> None:
    """No reader gets a version older than those acknowledged before it began; a flush waits for the readers."""
    history = History(tmp_path / "m.db", 60, index="ivf_flat")
    collection, stop, flushing = history.collection, threading.Event(), threading.Lock()
    started: dict[int, int] = {}  # by key the number of its last write, negative for a delete
    acknowledged: dict[int, int] = {}
    failures: list[str] = []

    def read_on(seed: int) -> None:
        query = np.random.default_rng(seed).standard_normal((1, DIM)).tolist()
        while not stop.is_set() and not failures:
            with flushing:
                before = dict(acknowledged)
                if seed % 2:
                    found = collection.query("number >= 0", ["key", "number"])
                else:
                    found = [hit["entity"] | {"key": hit["id"]} for hit in collection.search(query, 1000)[0]]
            versions = {row["key"]: row["number"] for row in found}
            for key, write in before.items():
                expected = None if write < 0 else write
                newer = started[key] != write and versions.get(key, abs(write)) >= abs(write)
                if len(versions) != len(found) or (not newer and versions.get(key) != expected):
                    failures.append(f"{key}: {versions.get(key)} after {write}")

    threads = [threading.Thread(target=read_on, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for version in range(1, 160):
        key, deletes = int(history.random.integers(0, 12)), history.random.random() < 0.25
        started[key] = -version if deletes else version
        if deletes:
            collection.delete([key])
        else:
            collection.upsert([{**history.rows(1)[0], "key": key, "number": version}])
        acknowledged[key] = started[key]
        if version % 12 == 0:
            with flushing:
                collection.flush()
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    history.check()
    history.db.close()


CLIENT = """
import json, sys
from pymilvus import MilvusClient
if sys.argv[2] == "apply":
    from pipelines.milvus import lite_fast_path
    assert lite_fast_path.apply()
client = MilvusClient(sys.argv[1])
client.load_collection("c")
keys = json.loads(sys.argv[3])
answers = [client.get("c", keys), client.get_collection_stats("c")]
for expr in ["", "number < 30", "number < 0", 'text like "t1%"']:
    answers.append(client.query("c", filter=expr, output_fields=["count(*)"]))
    answers.append(client.query("c", filter=expr, output_fields=["key", "vector"], limit=500))
    for names in (None, ["p1"]):
        hits = client.search("c", [[1, 0, -1, 0, 2, 0, 0, 1]], limit=9, filter=expr, partition_names=names)
        answers.append([dict(hit) for hit in hits[0]])
iterator = client.query_iterator("c", batch_size=10, output_fields=["number"])
while page := iterator.next():
    answers.append([dict(row) for row in page])
try:
    client.query("c", filter="nothing < 3", output_fields=["count(*)"])
except Exception as error:
    answers.append(str(error))
import milvus_lite
print(json.dumps({"package": milvus_lite.__file__, "answers": answers}, default=float))
"""


def test_a_client_gets_the_same_answers(tmp_path: Path) -> None:
    history = History(tmp_path / "m.db", 70, index="ivf_flat")
    for _ in range(40):
        history.write()
    history.collection.flush()
    history.db.close()
    keys = json.dumps([history.key(n) for n in range(30)])
    patched = patched_package(tmp_path / "patched")
    answers = [ask(history.folder, keys, *how) for how in (("untouched",), ("apply",), ("untouched", patched))]
    assert answers[0] == answers[1]
    assert answers[0] == answers[2]


def ask(folder: Path, keys: str, mode: str, package: Path | None = None) -> Any:
    environment = {**os.environ, "PYTHONPATH": str(package or "")}
    command = [sys.executable, "-c", CLIENT, str(folder), mode, keys]
    answer = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert Path(answer["package"]).is_relative_to(package or Path(milvus_lite.__file__).parent)
    return answer["answers"]


def patched_package(folder: Path) -> Path:
    """Copy the installed Milvus Lite and apply the patch that is proposed upstream; return the folder."""
    shutil.copytree(Path(milvus_lite.__file__).parent, folder / "milvus_lite")
    subprocess.run(["git", "apply", str(PATCH)], cwd=folder, check=True)
    return folder


def test_an_unknown_version_is_left_alone() -> None:
    program = (
        "from pipelines.milvus import lite_fast_path; lite_fast_path.KNOWN_VERSIONS = frozenset()\n"
        "from milvus_lite.engine.collection import Collection\n"
        "query = Collection.query; assert not lite_fast_path.apply(); assert Collection.query is query"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def filled(folder: Path, index: str = "ivf_flat") -> History:
    history = History(folder, 80, index=index)
    history.collection.insert([{**row, "key": n} for n, row in enumerate(history.rows(40))])
    history.collection.flush()
    history.collection._wait_for_bg()
    return history


def test_vectors_are_in_memory_only_when_asked_for(tmp_path: Path) -> None:
    history = filled(tmp_path / "m.db")
    (kept,) = history.collection._segment_cache.values()
    history.collection.search([[1.0] * DIM], top_k=3, expr="number < 30", output_fields=["text"])
    history.collection.get([1, 2], output_fields=["text"])
    assert kept._table is None
    plain = Segment.load(kept.file_path, kept.partition, "key", "vector")
    assert kept.table.equals(plain.table)
    assert np.array_equal(kept.vectors, plain.vectors)
    assert (kept.pks, kept.pk_to_row) == (plain.pks, plain.pk_to_row)
    history.reopen()
    (kept,) = history.collection._segment_cache.values()
    assert kept._table is None
    assert "vector" in kept.indexes
    history.db.close()


@pytest.mark.skipif(os.name != "posix", reason="there open files cannot be deleted, and vectors are read at once")
def test_a_reader_finishes_after_its_file_was_deleted(tmp_path: Path) -> None:
    history = filled(tmp_path / "m.db")
    (kept,) = history.collection._segment_cache.values()
    plain = Segment.load(kept.file_path, kept.partition, "key", "vector")
    os.remove(kept.file_path)
    assert kept.row_to_dict(7) == plain.row_to_dict(7)
    history.db.close()


def test_a_broken_file_is_refused_in_the_same_words(tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_bytes(b"not Parquet at all")
    messages = []
    for kind in (Segment, segment.LazySegment):
        with pytest.raises(pa.ArrowInvalid) as refusal:
            kind.load(str(path), "_default", "key", "vector")
        messages.append(str(refusal.value))
    assert messages[0] == messages[1]


def test_too_many_files_are_not_kept_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "MAX_OPEN_FILES", 0)
    history = filled(tmp_path / "m.db")
    (kept,) = history.collection._segment_cache.values()
    assert kept._file.closed
    history.check()
    history.db.close()


def test_only_a_few_sets_of_partitions_are_kept(tmp_path: Path) -> None:
    history = filled(tmp_path / "m.db")
    sets = [None, *([name] for name in PARTITIONS), PARTITIONS[:2], PARTITIONS[1:], PARTITIONS]
    for names in sets * 2:
        history.collection.search([[1.0] * DIM], top_k=3, partition_names=names)
    _, live = history.collection._read_snapshot()
    assert 0 < len(live._scopes) <= live_rows.MAX_SCOPES < len(sets)
    assert live is history.collection._read_snapshot()[1]
    history.db.close()
