"""A run reads a server as of one moment, which advances with the run's own writes."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pipelines.milvus.collection as module
from pipelines import Settings, run_insert
from pipelines.milvus import schema
from pipelines.milvus.collection import Collection
from tests.support.insert import did
from tests.support.photos import Photos

DIM = 8


def row(key: int, path: str) -> dict[str, Any]:
    return {**schema.ADDED, "id": key, "path": path, "_hash": "", "_source": "", "_model": "m@0", "_mtime_ns": 0,
            "_size": 0, "embedding": np.eye(DIM, dtype=np.float32)[0]}  # fmt: skip


def test_reads_see_own_writes_at_once_and_those_before_the_moment(milvus_server: str) -> None:
    ours, theirs = (Collection(milvus_server, f"moment_{uuid.uuid4().hex[:8]}") for _ in range(2))
    theirs.name = ours.name
    ours.create(DIM, ())
    ours.read_as_of_now()
    for turn in range(5):  # a read that does not wait mostly misses a write made just before
        ours.upsert([row(0, f"/ours/{turn}")])
        assert ours.get([0], ["path"])[0]["path"] == f"/ours/{turn}"
        theirs.upsert([row(1, f"/theirs/{turn}")])
        ours.read_as_of_now()
        assert ours.query("id == 1", ["path"])[0]["path"] == f"/theirs/{turn}"
        ours.delete([1])
        assert ours.get([1], []) == {}
    assert theirs.get([0], ["path"])[0]["path"] == "/ours/4"
    ours.drop()


def test_a_shard_waits_once_to_read_and_never_to_seal(
    milvus_server: str, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(uri=milvus_server, collection=f"moment_{uuid.uuid4().hex[:8]}", model="builtin")
    calls: list[tuple[str, Any]] = []
    original = module.call

    def noted(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        reads = "consistency_level" in options
        calls.append((function.__name__, options.get("guarantee_timestamp", "latest") if reads else None))
        return original(function, *args, **options)

    monkeypatch.setattr(module, "call", noted)
    done: dict[str, int] = {}
    for shard in ("1/2", "2/2"):
        for count, kind in did(run_insert(photos.csv, settings, shard=shard)).items():
            done[count] = done.get(count, 0) + kind
    assert done == {"inserted": 12}
    names = {name for name, _ in calls}
    assert ("upsert" in names, "flush" in names) == (True, False)
    calls.clear()
    assert set(did(run_insert(photos.csv, settings, shard="2/2"))) == {"unchanged"}
    moments = [moment for _, moment in calls if moment is not None]
    assert (len(moments) > 3, len(set(moments))) == (True, 1)
    assert moments[0] != "latest"
    Collection(milvus_server, settings.collection).drop()
