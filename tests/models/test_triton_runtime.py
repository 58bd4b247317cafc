"""The client of a model server: what it sends, what it believes, and what it reports when a server misbehaves.

The server is a small one that speaks the protocol; `test_triton_server.py` uses a real Triton.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pipelines import Settings
from pipelines.errors import InputError, ModelError, ModelMismatch, ModelUnavailable
from pipelines.models.clip import ClipModel, load_model
from pipelines.models.registry import BUILTIN
from pipelines.models.runtime import choose_runtime
from pipelines.models.triton_runtime import TritonRuntime
from tests.support.model_server import Answer, ModelServer, embed, running
from tests.support.models import IMAGES, VIT, spec_of
from tests.support.web_server import WebServer

SPEC = spec_of(VIT)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with running(ModelServer(SPEC, "tiny@0123456789ab")) as server:
        yield server


def test_both_towers_answer_under_the_servers_model_id(server: ModelServer) -> None:
    model = ClipModel(SPEC, runtime="triton", model_url=f"{server.url}/")
    np.testing.assert_array_equal(model.embed_images(IMAGES), embed(IMAGES, 16))
    assert model.embed_texts(["a dog", "two dogs on a sofa"]).shape == (2, 16)
    assert model.model_id == "tiny@0123456789ab"
    assert model.description == f"triton fp32 on {server.url.removeprefix('http://')}"


def test_a_batch_is_sent_in_parts_of_the_servers_size(server: ModelServer) -> None:
    server.most = 2
    images = np.concatenate([IMAGES, IMAGES[:2]])
    np.testing.assert_array_equal(TritonRuntime(SPEC, server.url).embed_images(images), embed(images, 16))


def test_three_batches_are_on_their_way_at_the_same_time(server: ModelServer) -> None:
    runtime = TritonRuntime(SPEC, server.url)
    runtime.embed_images(IMAGES)
    server.together = threading.Barrier(3, timeout=30)  # none of three is answered before all are there
    with ThreadPoolExecutor(3) as pool:
        assert len(list(pool.map(runtime.embed_images, [IMAGES] * 3))) == 3


def test_a_busy_server_is_asked_again(server: ModelServer) -> None:
    runtime = TritonRuntime(SPEC, server.url)
    server.busy = 2
    assert runtime.embed_images(IMAGES).shape == (3, 16)
    server.busy = 3
    with pytest.raises(ModelUnavailable, match="does not answer \\(it answers 503 Service Unavailable\\): start it"):
        runtime.embed_images(IMAGES)


def test_a_server_that_is_away_is_one_line() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(ModelUnavailable, match=f"the model server 127.0.0.1:{port} does not answer") as error:
        TritonRuntime(SPEC, f"http://127.0.0.1:{port}")
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 3


# --- What is not believed --------------------------------------------------------------------------------------------


def cut(answer: Answer) -> Answer:
    status, head, body = answer
    return status, head, body[:-4]


def empty(answer: Answer) -> Answer:
    """Answer as Triton's python backend does with numpy 2."""
    status, head, _ = answer
    for output in head.get("outputs", ()):
        output["parameters"]["binary_data_size"] = 0
    return status, head, b""


def zeros(answer: Answer) -> Answer:
    status, head, body = answer
    return status, head, bytes(len(body))


def transposed(answer: Answer) -> Answer:
    status, head, body = answer
    for output in head.get("outputs", ()):
        output["shape"].reverse()
    return status, head, body


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, r"sent 188 bytes for 3 items of 'tiny-image', not the 192 of float32\[3, 16\]"),
        (empty, "sent 0 bytes for 3 items"),
        (zeros, "sent zeros as embeddings"),
        (transposed, "sent 192 bytes for 3 items"),
    ],
)
def test_wrong_answers_with_status_200_are_refused(
    server: ModelServer, change: Callable[[Answer], Answer], message: str
) -> None:
    runtime = TritonRuntime(SPEC, server.url)
    runtime.embed_images(IMAGES)
    server.change = change
    with pytest.raises(ModelError, match=message):
        runtime.embed_images(IMAGES)


def test_a_server_that_computes_something_else_is_refused_before_the_first_batch(server: ModelServer) -> None:
    server.change = lambda answer: (*answer[:2], np.frombuffer(answer[2], np.float32)[::-1].tobytes())
    runtime = TritonRuntime(SPEC, server.url)
    with pytest.raises(ModelError, match=r"does not compute what was exported \(cosine"):
        runtime.embed_images(IMAGES)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"model_id": "other@0123456789ab"}, "has other@0123456789ab with the recipe"),
        ({"recipe": "00000000"}, "with the recipe 00000000 as 'tiny-text', and tiny@0123456789ab with"),
    ],
)
def test_another_model_under_the_name_is_refused(server: ModelServer, facts: dict[str, str], message: str) -> None:
    server.facts |= facts
    with pytest.raises(ModelMismatch, match=message):
        TritonRuntime(SPEC, server.url)


def test_weights_that_are_here_have_to_be_the_servers() -> None:
    wanted = f"and builtin@[0-9a-f]+ with {BUILTIN.recipe} is wanted"
    with running(ModelServer(BUILTIN, "builtin@0123456789ab")) as server, pytest.raises(ModelMismatch, match=wanted):
        load_model("builtin", model_url=server.url)


def test_towers_of_two_models_are_refused(server: ModelServer) -> None:
    runtime = TritonRuntime(SPEC, server.url)
    server.facts["model_id"] = "tiny@ba9876543210"
    with pytest.raises(ModelMismatch, match="towers of two models"):
        runtime.embed_images(IMAGES)


def test_a_model_that_was_exchanged_meanwhile_is_refused(server: ModelServer) -> None:
    runtime = TritonRuntime(SPEC, server.url)
    runtime.embed_images(IMAGES)
    server.facts["precision"] = "bf16"
    with pytest.raises(ModelError, match="unknown model: 'tiny-image' is not found; it needs 'tiny-image' as `image-"):
        runtime.embed_images(IMAGES)


def test_a_server_without_our_parameters_or_the_protocol_is_named(server: ModelServer) -> None:
    server.facts.clear()
    with pytest.raises(ModelError, match="does not say which model its 'tiny-text' is: `image-search export-model"):
        TritonRuntime(SPEC, server.url)
    with WebServer() as web, pytest.raises(ModelError, match=r"does not speak Triton's protocol \(status 200\)"):
        TritonRuntime(SPEC, f"{web.url}/html")


# --- How it is chosen ------------------------------------------------------------------------------------------------


def test_an_address_is_enough_and_another_runtime_comes_before_it() -> None:
    assert choose_runtime("auto", "cuda", "http://x") == "triton"
    assert choose_runtime("pytorch", "cpu", "http://x") == "pytorch"
    with pytest.raises(InputError, match="--runtime triton needs the address of the server: --model-url http://host"):
        choose_runtime("triton")


@pytest.mark.parametrize("url", ["host:8000", "ftp://host", "http://", "http://user:secret@host:8000", "http://host:x"])
def test_what_is_no_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(InputError, match="--model-url is the address of a server, without user") as error:
        TritonRuntime(SPEC, url)
    assert "secret" not in str(error.value)


def test_options_that_only_the_export_can_obey_are_refused(server: ModelServer) -> None:
    with pytest.raises(InputError, match="image-search export-model --weights FILE"):
        ClipModel(SPEC, "weights.pt", model_url=server.url)
    with pytest.raises(InputError, match="computes in fp32: leave out --precision"):
        ClipModel(SPEC, precision="fp16", model_url=server.url)


def test_the_settings_reach_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_SEARCH_MODEL_URL", "http://host:8000")
    assert Settings.from_env().model_url == "http://host:8000"
