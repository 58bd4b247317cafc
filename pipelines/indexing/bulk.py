"""Bulk load: Milvus itself reads files from its object store into a new collection, which replaces the old one."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from ..errors import InputError, StoreError, counted
from ..fetch.read import is_remote, open_store, store_errors
from ..fields import EMBEDDING, ID
from ..milvus import schema
from ..milvus.calls import call
from ..milvus.collection import Collection
from ..milvus.index import is_cloud
from ..milvus.lite import is_lite
from ..milvus.vector_parts import make_part, write_part
from .exchange import IMPORTED, exchange, finish_exchange, sibling

if TYPE_CHECKING:
    import pyarrow as pa

BULK_ROWS = 50_000  # 100 MB a file at 512 dimensions
_POLL_SECONDS = 1.0
_VISIBLE_SECONDS = 300.0  # to wait for all rows after Milvus has imported all files


class BulkLoad(Collection):
    """A collection as the target of a copy. It does not change until `flush`, which loads all its rows anew.

    Args:
        store: where Milvus reads files: a URL such as s3://bucket/folder, or a folder of the server's local storage.

    Raises:
        InputError: this Milvus has no bulk load.
    """

    def __init__(self, collection: Collection, store: str) -> None:
        super().__init__(collection.uri, collection.name, collection.token)
        if is_lite(self.uri):
            raise InputError("Milvus Lite has no bulk load: leave out --bulk")
        finish_exchange(self)
        self._store = store.rstrip("/") if is_remote(store) else os.path.abspath(store)
        self._prefix = f"image-search-{uuid.uuid4().hex[:12]}"
        self._waiting: list[Mapping[str, Any]] = []
        self._ids: list[np.ndarray] = []
        self._files: list[str] = []

    def upsert(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Take rows for the new collection. No id may occur twice."""
        new = list(rows)
        self._waiting += new
        self._ids.append(np.array([row[ID] for row in new], np.int64))
        if len(self._waiting) >= BULK_ROWS:
            self._write()
        return len(new)

    def flush(self) -> None:
        """Load the given rows and the collection's other rows into a new collection, which takes its place.

        Raises:
            StoreError: Milvus could not read a file, or lacks rows afterwards. The collection is unchanged.
        """
        given = np.concatenate([np.zeros(0, np.int64), *self._ids])
        for rows in self.scan("", schema.field_names(self.describe())):
            others = np.isin([row[ID] for row in rows], given, invert=True)
            self.upsert(
                {**row, EMBEDDING: np.asarray(row[EMBEDDING], np.float32)}
                for row, is_other in zip(rows, others, strict=True)
                if is_other
            )
        new = sibling(self, IMPORTED[0])
        if new.exists():
            new.drop()
        new.create(self.dim(), self.fields(), self.index)
        try:
            self._write()
            self._load(new)
        finally:
            self._remove_files()
        exchange(self, new, IMPORTED)

    def _write(self) -> None:
        """Write the waiting rows to a file in the store."""
        if not self._waiting:
            return
        columns = _columns(self.describe())
        part = make_part(columns, [schema.encode(row, self.with_sentinel) for row in self._waiting])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"{self._prefix}-{len(self._files):06}.parquet")
            write_part(file, _with_lists(part))
            self._files.append(f"{self._store}/{file.name}")
            if is_remote(self._store):
                filesystem, name = open_store(self._files[-1])
                with store_errors(self._store):
                    filesystem.put_file(str(file), name)
            else:
                shutil.copy(file, self._files[-1])
        self._waiting = []

    def _load(self, new: Collection) -> None:
        jobs = CloudJobs(new) if is_cloud(self.uri) else ServerJobs(new)
        running = [jobs.start(file) for file in self._files]
        while running := [job for job in running if not jobs.is_done(job)]:
            time.sleep(_POLL_SECONDS)
        expected, deadline = sum(map(len, self._ids)), time.monotonic() + _VISIBLE_SECONDS
        call(new.client.refresh_load, new.name)
        while (found := new.count()) != expected:
            if time.monotonic() > deadline:
                raise StoreError(f"Milvus has {found:,} of {counted(expected, 'row')} after the load: leave out --bulk")
            time.sleep(_POLL_SECONDS)

    def _remove_files(self) -> None:
        for file in self._files:
            if is_remote(file):
                filesystem, name = open_store(file)
                with store_errors(file):
                    filesystem.rm_file(name)
            else:
                Path(file).unlink(missing_ok=True)


def _columns(description: Mapping[str, Any]) -> pa.Schema:
    """Return the columns of a file that Milvus imports into a collection."""
    import pyarrow as pa
    from pymilvus import DataType

    types = {DataType.INT64: pa.int64(), DataType.INT8: pa.int8(), DataType.DOUBLE: pa.float64()}
    types |= {DataType.BOOL: pa.bool_(), DataType.VARCHAR: pa.string()}
    types[DataType.FLOAT_VECTOR] = pa.list_(pa.float32(), schema.read_dim(description))
    return pa.schema([pa.field(field["name"], types[field["type"]]) for field in description["fields"]])


def _with_lists(part: pa.Table) -> pa.Table:
    """Return the table with embeddings as lists of any length, because Milvus reads no others."""
    import pyarrow as pa

    at = part.column_names.index(EMBEDDING)
    return part.set_column(at, EMBEDDING, part[EMBEDDING].cast(pa.list_(pa.float32())))


class ServerJobs:
    """Jobs of a Milvus server, which reads files from its own bucket or local storage."""

    def __init__(self, collection: Collection) -> None:
        self._name, self._handler = collection.name, collection.client._get_connection()

    def start(self, file: str) -> Any:
        """Import one file; return the job's id. A failed call is not repeated, because it may have started the job."""
        name = open_store(file)[1].partition("/")[2] if is_remote(file) else file  # a key, without the bucket's name
        return call(self._handler.do_bulk_insert, self._name, "", [name], deadline=0)

    def is_done(self, job: Any) -> bool:
        """Return whether a job is done.

        Raises:
            StoreError: it failed.
        """
        state = call(self._handler.get_bulk_insert_state, job)
        if state.state in (state.ImportFailed, state.ImportFailedAndCleaned):
            raise StoreError(f"Milvus could not import a file: {' '.join(state.failed_reason.split())[:300]}")
        return bool(state.state == state.ImportCompleted)


class CloudJobs:
    """Jobs of Zilliz Cloud, which reads files from a bucket with the keys in AWS_ACCESS_KEY_ID and _SECRET_ACCESS_KEY.

    https://docs.zilliz.com/reference/restful/import-operations-v2
    """

    def __init__(self, collection: Collection) -> None:
        host = urlsplit(collection.uri).hostname or ""
        suffix = ".cn" if host.endswith(".cn") else ""
        self._url = f"https://api.cloud.zilliz.com{suffix}/v2/vectordb/jobs/import"
        self._cluster, self._name, self._token = host.partition(".")[0], collection.name, collection.token

    def start(self, file: str) -> str:
        """Import one file; return the job's id."""
        keys = {"accessKey": "AWS_ACCESS_KEY_ID", "secretKey": "AWS_SECRET_ACCESS_KEY", "token": "AWS_SESSION_TOKEN"}
        given = {name: os.environ[variable] for name, variable in keys.items() if variable in os.environ}
        return str(self._post("create", collectionName=self._name, objectUrls=[[file]], **given)["jobId"])

    def is_done(self, job: str) -> bool:
        """Return whether a job is done. Raises StoreError if it failed."""
        progress = self._post("describe", jobId=job)
        if progress["state"] == "Failed":
            raise StoreError(f"Zilliz Cloud could not import a file: {progress.get('reason')}")
        return bool(progress["state"] == "Completed")

    def _post(self, action: str, **body: Any) -> dict[str, Any]:
        import httpx

        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            answer = httpx.post(f"{self._url}/{action}", json={"clusterId": self._cluster, **body}, headers=headers)
            result: dict[str, Any] = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise StoreError(f"Zilliz Cloud's import: {error}") from error
        if result.get("code"):
            raise StoreError(f"Zilliz Cloud's import: {result.get('message')}")
        return dict(result["data"])
