"""Run a model on a server that speaks Triton's protocol, over HTTP with binary tensors.

Protocol: KServe's "Open Inference Protocol (V2)" with Triton's extensions for binary tensors and configurations, in
docs/protocol/ of github.com/triton-inference-server/server.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np

from ..errors import InputError, ModelError, ModelMismatch, ModelUnavailable
from .fingerprint import fingerprint
from .model_id import fingerprint_of, is_same_model, make_model_id, may_be_same_name, name_of
from .probe import MIN_COSINE, least_cosine, probe_of
from .spec import ModelSpec

INPUT, OUTPUT = "input", "embedding"
DATATYPES = {"image": "UINT8", "text": "INT64"}
EXPORT = "image-search export-model --format triton"
CONNECT_SECONDS = 5.0
PROBE_SECONDS = 1.0  # to connect, and again to answer
# Seconds to wait for an answer, and more for each item. The first call may load libraries; a CPU takes seconds per
# image with the largest models.
ANSWER_SECONDS, ITEM_SECONDS = 20.0, 2.0
# Seconds to wait before the second and the third attempt. An insert retries for longer (`indexing.execute`).
PAUSES = (0.2, 0.8)
BUSY = frozenset({429, 502, 503, 504})


def tower_name(spec: ModelSpec, kind: str) -> str:
    """Return the name of a tower on a server."""
    return f"{Path(spec.name).name}-{kind}"


def tower_version(model_id: str, recipe: str, precision: str) -> str:
    """Return the version number of a tower on a server: a hash of everything that determines its embeddings.

    Every request names the version, so a server that has another model by now rejects it.
    """
    return str(int(hashlib.sha256(f"{model_id} {recipe} {precision}".encode()).hexdigest()[:12], 16))


class TritonRuntime:
    """Both towers on a server. Thread-safe; several threads can have requests in flight at the same time.

    Raises:
        InputError: the address is invalid, or the server's model has another precision.
        ModelMismatch: the server has another model of this name.
        ModelError: the server has no such model, or does not speak the protocol.
        ModelUnavailable: the server does not answer.
    """

    def __init__(self, spec: ModelSpec, url: str, precision: str = "auto") -> None:
        server = _Server(url)
        self.name, self.device, self.default_batch_size = "triton", server.host, 64
        texts = _Tower(server, "text", spec)
        self.model_id, self.precision, self.version = texts.served()[:3]
        if precision not in ("auto", self.precision):
            raise InputError(f"the model on {server.host} computes in {self.precision}: leave out --precision")
        self.embed_texts: Callable[[np.ndarray], np.ndarray] = texts
        self.embed_images: Callable[[np.ndarray], np.ndarray] = _Tower(server, "image", spec, texts)

    def prepare_texts(self) -> None:
        """Do nothing: the server is ready."""

    def calibrate(self, read_images: Callable[[], np.ndarray]) -> None:
        """Do nothing: the server chooses its precision."""


class ServerProbe:
    """Checks, with short timeouts, that a server has both towers of the model that made a collection."""

    def __init__(self, spec: ModelSpec, url: str, stored_model_id: str) -> None:
        server = _Server(url)
        self._towers, self._wanted = [_Tower(server, kind, spec) for kind in DATATYPES], stored_model_id

    def __call__(self, version: str = "") -> None:
        """Raise ModelUnavailable if the server has no such model or does not answer, ModelMismatch if it has another.

        `version` is the one that this process requests, if it has loaded the model: any other version is another model.
        """
        for found in (tower.ask(PROBE_SECONDS) for tower in self._towers):
            if not is_same_model(found.model_id, self._wanted) or version not in ("", found.version):
                raise ModelMismatch(f"the model server has {found.model_id} in {found.precision} by now")


class _Server:
    """Requests to one server, retried while it is busy or if a connection breaks."""

    def __init__(self, url: str) -> None:
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL:
            address = httpx.URL("")
        if address.scheme not in ("http", "https") or not address.host or address.userinfo:
            raise InputError("--model-url is the address of a server, without user and password: http://host:8000")
        self.host = address.netloc.decode()
        self._client = httpx.Client(base_url=address, headers={"Accept-Encoding": "identity"})
        weakref.finalize(self, self._client.close)  # httpx would leave its connections open

    def ask(self, path: str, items: int = 0, seconds: float = 0.0, **request: Any) -> httpx.Response:
        """Send a GET, or a POST if there is content. The timeout grows with `items`; `seconds` replaces it."""
        timeout = httpx.Timeout(ANSWER_SECONDS + ITEM_SECONDS * items, connect=CONNECT_SECONDS)
        timeout = httpx.Timeout(seconds) if seconds else timeout
        for pause in (*PAUSES, None):
            try:
                method = "POST" if "content" in request else "GET"
                response = self._client.request(method, path, timeout=timeout, **request)
                if response.status_code not in BUSY:
                    return response
                reason = f"it answers {response.status_code} {response.reason_phrase}"
            except httpx.RequestError as error:
                reason = " ".join(str(error).split()) or type(error).__name__
                if isinstance(error, httpx.TimeoutException):
                    pause = None  # no retry: the timeout has passed
            if pause is None:
                raise ModelUnavailable(
                    f"the model server {self.host} does not answer ({reason}): start it, or leave out --model-url"
                )
            time.sleep(pause)
        raise AssertionError  # the last pause is None

    def read(self, response: httpx.Response, model: str) -> tuple[Any, bytes]:
        """Return the JSON of a response, and the bytes after it."""
        try:
            length = int(response.headers.get("Inference-Header-Content-Length") or len(response.content))
            answer = json.loads(response.content[:length])
        except ValueError:
            raise ModelError(f"{self.host} does not speak Triton's protocol (status {response.status_code})") from None
        if response.status_code != 200:
            reason = " ".join(str(answer.get("error") if isinstance(answer, dict) else answer).split())[:200]
            raise ModelError(f"the model server {self.host}: {reason}; it needs '{model}' as `{EXPORT}` writes it")
        return answer, response.content[length:]


class _Served(NamedTuple):
    """What a server reports about a tower: `most` is its largest batch (0: any), `expected` the probe's embeddings."""

    model_id: str
    precision: str
    version: str
    most: int
    expected: np.ndarray


class _Tower:
    """One tower on a server, of the same model as `other`. Its input and output are those of `Runtime`."""

    def __init__(self, server: _Server, kind: str, spec: ModelSpec, other: _Tower | None = None) -> None:
        self._server, self._kind, self._spec, self._other = server, kind, spec, other
        self._name = tower_name(spec, kind)
        self._lock = threading.Lock()
        self._served: _Served | None = None
        self._is_checked = False

    def served(self) -> _Served:
        """Return what the server reported when it was first asked."""
        with self._lock:
            self._served = self._served or self.ask()
            return self._served

    def __call__(self, items: np.ndarray) -> np.ndarray:
        served = self.served()
        with self._lock:
            if not self._is_checked:
                self._check(served)
                self._is_checked = True
        parts = math.ceil(len(items) / served.most) if served.most else 1
        return np.concatenate([self._infer(part, served) for part in np.array_split(items, max(parts, 1))])

    def ask(self, seconds: float = 0.0) -> _Served:
        """Request the tower's configuration, and check that it is the wanted model. Only a probe sets `seconds`."""
        response = self._server.ask(f"/v2/models/{self._name}/config", seconds=seconds)
        if seconds and response.status_code != 200:  # the server may be starting
            raise ModelUnavailable(f"{self._server.host} has no '{self._name}' ready (status {response.status_code})")
        config, _ = self._server.read(response, self._name)
        try:
            theirs = {name: str(value["string_value"]) for name, value in config["parameters"].items()}
            model_id, recipe, precision = theirs["model_id"], theirs["recipe"], theirs["precision"]
            expected = np.frombuffer(base64.b64decode(theirs["probe"]), "<f4").reshape(-1, self._spec.dim)
            most = int(config["max_batch_size"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ModelError(
                f"the model server {self._server.host} does not say which model its '{self._name}' is: `{EXPORT}` "
                "writes that into config.pbtxt"
            ) from None
        spec, version = self._spec, tower_version(model_id, recipe, precision)
        ours = make_model_id(spec.name, fingerprint_of(model_id), spec.recipe)
        if spec.weights.path is not None and not seconds:  # a model whose weights are here
            ours = make_model_id(spec.name, fingerprint(spec.weights.path), spec.recipe)
        is_same = may_be_same_name(name_of(model_id), spec.name) and fingerprint_of(model_id) == fingerprint_of(ours)
        if not is_same or recipe != spec.recipe:
            raise ModelMismatch(
                f"the model server {self._server.host} has {model_id} with the recipe {recipe} as '{self._name}', "
                f"and {ours} with {spec.recipe} is wanted: export that one for it"
            )
        if self._other is not None and self._other.served().version != version:
            raise ModelMismatch(f"the model server {self._server.host} has towers of two models: export both together")
        return _Served(ours, precision, version, most, expected)

    def _check(self, served: _Served) -> None:
        """Raise ModelError if the server's embeddings of known inputs differ from PyTorch's at the export."""
        cosine = least_cosine(self._infer(probe_of(self._kind, self._spec), served), served.expected)
        if cosine < MIN_COSINE:
            raise ModelError(
                f"'{self._name}' on {self._server.host} does not compute what was exported (cosine {cosine:.3f} on "
                "known inputs): export it again, and look into the server's log"
            )

    def _infer(self, items: np.ndarray, served: _Served) -> np.ndarray:
        data = np.ascontiguousarray(items).tobytes()
        tensor = {"name": INPUT, "shape": items.shape, "datatype": DATATYPES[self._kind]}
        wanted = [{"name": OUTPUT, "parameters": {"binary_data": True}}]
        inputs = [{**tensor, "parameters": {"binary_data_size": len(data)}}]
        head = json.dumps({"inputs": inputs, "outputs": wanted}).encode()
        response = self._server.ask(
            f"/v2/models/{self._name}/versions/{served.version}/infer", len(items), content=head + data,
            headers={"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"},
        )  # fmt: skip
        answer, body = self._server.read(response, self._name)
        return self._embeddings(answer, body, len(items))

    def _embeddings(self, answer: Any, body: bytes, rows: int) -> np.ndarray:
        """Check all parts of an answer and return its embeddings: a server may send status 200 and nothing else."""
        size = rows * self._spec.dim * 4
        try:
            (output,) = answer["outputs"]
            sent = (output["name"], output["datatype"], list(output["shape"]), output["parameters"]["binary_data_size"])
        except (KeyError, TypeError, ValueError):
            sent = None
        if sent != (OUTPUT, "FP32", [rows, self._spec.dim], size) or len(body) != size:
            raise ModelError(
                f"the model server {self._server.host} sent {len(body)} bytes for {rows} items of '{self._name}', "
                f"not the {size} of float32[{rows}, {self._spec.dim}]: look into its log"
            )
        embeddings = np.frombuffer(body, "<f4").reshape(rows, self._spec.dim).astype(np.float32)
        if not embeddings.any(axis=1).all():  # NaN counts as nonzero: an image may yield it
            raise ModelError(f"the model server {self._server.host} sent zeros as embeddings: look into its log")
        return embeddings
