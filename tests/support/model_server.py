"""A small server that speaks Triton's protocol, runs a made-up model, and misbehaves in the ways that servers do."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from pipelines.models.probe import probe_of
from pipelines.models.spec import ModelSpec
from pipelines.models.triton_runtime import tower_name, tower_version

DTYPES = {"UINT8": np.uint8, "INT64": np.int64}
Answer = tuple[int, dict[str, Any], bytes]


def embed(items: np.ndarray, dim: int) -> np.ndarray:
    """Return embeddings of a made-up model, float32[n, dim].

    Small whole weights keep every sum exact, so an item has the same embedding in every batch. BLAS adds fractions in
    another order for another size of batch.
    """
    flat = items.reshape(len(items), -1).astype(np.float32)[:, :7]
    return 1 + flat @ np.random.default_rng(5).integers(0, 32, (flat.shape[1], dim)).astype(np.float32)


class ModelServer:
    """The server. `facts` describe its model, `change` may alter an answer, and the next `busy` answers are 503."""

    def __init__(self, spec: ModelSpec, model_id: str) -> None:
        self.spec, self.most = spec, 256
        self.facts = {"model_id": model_id, "recipe": spec.recipe, "precision": "fp32"}
        self.change: Callable[[Answer], Answer] = lambda answer: answer
        self.busy, self.together = 0, threading.Barrier(1)
        self.requests: Counter[str] = Counter()
        self.url = ""

    def answer(self, path: str, content: bytes, length: int) -> Answer:
        """Return the status, the JSON and the bytes that follow it."""
        self.requests[path] += 1
        if self.busy:
            self.busy -= 1
            return 503, {"error": "busy"}, b""
        name = path.split("/")[3]
        kind = name.rpartition("-")[2]
        if path == f"/v2/models/{tower_name(self.spec, kind)}/config":
            expected = embed(probe_of(kind, self.spec), self.spec.dim)
            facts = {**self.facts, "probe": base64.b64encode(expected.tobytes()).decode()}
            parameters = {key: {"string_value": value} for key, value in facts.items()}
            return self.change((200, {"max_batch_size": self.most, "parameters": parameters}, b""))
        if path != f"/v2/models/{tower_name(self.spec, kind)}/versions/{tower_version(**self.facts)}/infer":
            return 404, {"error": f"Request for unknown model: '{name}' is not found"}, b""
        self.together.wait()
        (given,) = json.loads(content[:length])["inputs"]
        assert given["parameters"]["binary_data_size"] == len(content) - length
        items = np.frombuffer(content[length:], DTYPES[given["datatype"]]).reshape(given["shape"])
        assert len(items) <= self.most
        body = embed(items, self.spec.dim).tobytes()
        output = {"name": "embedding", "datatype": "FP32", "shape": [len(items), self.spec.dim]}
        return self.change((200, {"outputs": [{**output, "parameters": {"binary_data_size": len(body)}}]}, body))


@contextmanager
def running(server: ModelServer) -> Iterator[ModelServer]:
    """Serve on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

        def do_GET(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            length = int(self.headers.get("Inference-Header-Content-Length") or len(content))
            status, head, body = server.answer(self.path, content, length)
            text = json.dumps(head).encode()
            self.send_response(status)
            self.send_header("Inference-Header-Content-Length", str(len(text)))
            self.send_header("Content-Length", str(len(text) + len(body)))
            self.end_headers()
            self.wfile.write(text + body)

        do_POST = do_GET

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
