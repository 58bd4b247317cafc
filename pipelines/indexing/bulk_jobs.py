"""Jobs of a bulk load: on a Milvus server by gRPC, on Zilliz Cloud by its REST interface."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from ..errors import StoreError
from ..fetch.read import is_remote, open_store
from ..milvus.calls import call
from ..milvus.collection import Collection


class ServerJobs:
    """Jobs of a Milvus server, which reads files from its own bucket or local storage."""

    def __init__(self, collection: Collection) -> None:
        self._name, self._handler = collection.name, collection.client._get_connection()

    def start(self, file: str) -> Any:
        """Import one file; return the job's id. A failed call is not repeated: it may have started the job."""
        name = open_store(file)[1].partition("/")[2] if is_remote(file) else file  # a bucket's keys, without its name
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
