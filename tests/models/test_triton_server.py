"""Models on a real Triton: they embed as they do here, in every command, and the server may go away meanwhile."""

from __future__ import annotations

import dataclasses
import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipelines import Searcher, Settings, ops, pipe, run_insert
from pipelines.errors import ModelError, ModelMismatch, ModelUnavailable
from pipelines.indexing import execute
from pipelines.indexing.summary import Summary
from pipelines.milvus.collection import Collection
from pipelines.models.clip import ClipModel, load_model
from pipelines.models.export import export_model
from pipelines.models.registry import get_model
from pipelines.models.triton_runtime import ServerProbe
from tests.support.models import (
    TEXTS,
    VIT,
    cosines,
    random_network,
    save,
    spec_of,
    write_model_folder,
)
from tests.support.photos import Photos, draw_images
from tests.support.program import CommandResult
from tests.support.triton_server import TritonServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


class Elsewhere:
    """A server with some models."""

    def __init__(self, folder: Path, *models: Settings) -> None:
        pytest.importorskip("onnx", reason="the package onnx is not here: make .venv/installed-dev")
        self._repository = folder / "repository"
        self.server = TritonServer(self._repository, folder)
        self.url = self.server.url
        for settings in models:
            self.export(settings)
        self.server.start()

    def export(self, settings: Settings) -> None:
        export_model(settings, self._repository, "triton", "python")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model_folder(tmp_path_factory.mktemp("here") / "small", spec_of(VIT), random_network(VIT))


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory, small: str) -> Iterator[Elsewhere]:
    made = Elsewhere(tmp_path_factory.mktemp("elsewhere"), Settings(model="builtin"), Settings(model=small))
    yield made
    made.server.stop()
    load_model.cache_clear()


def assert_equal(there: ClipModel, here: ClipModel) -> None:
    assert (there.model_id, there.spec.fit) == (here.model_id, here.spec.fit)
    size = there.spec.image_size
    images = np.random.default_rng(1).integers(0, 256, (9, size, size, 3), np.uint8)
    assert cosines(there.embed_images(images), here.embed_images(images)).min() >= 0.9999
    assert cosines(there.embed_texts(TEXTS), here.embed_texts(TEXTS)).min() >= 0.9999


def test_builtin_embeds_there_as_it_does_here(elsewhere: Elsewhere) -> None:
    here = load_model("builtin", "", "cpu", "pytorch", 0, "fp32")
    assert_equal(load_model("builtin", model_url=elsewhere.url), here)


def test_a_vit_embeds_there_as_it_does_here_though_its_weights_are_there_only(tmp_path: Path) -> None:
    name = "clip_vit_base_patch32"
    weights = save(random_network(get_model(name).architecture), tmp_path / "weights.safetensors")
    elsewhere = Elsewhere(tmp_path, Settings(model=name, weights=weights))
    try:
        assert_equal(load_model(name, model_url=elsewhere.url), load_model(name, weights, "cpu", "pytorch", 0, "fp32"))
    finally:
        elsewhere.server.stop()


def test_every_command_takes_a_server(
    elsewhere: Elsewhere, photos: Photos, tmp_path: Path, command: Callable[..., CommandResult]
) -> None:
    model, env = ("--uri", tmp_path / "x.db"), {"IMAGE_SEARCH_MODEL_URL": elsewhere.url}
    done = command("insert", photos.csv, *model, "--model", "builtin", "--model-url", elsewhere.url, timeout=400)
    assert done.status == 0, done.err
    assert f"the model ran by triton fp32 on 127.0.0.1:{elsewhere.server.port}" in done.out
    there = command("search", "a red square", *model, "--json", env=env, timeout=400)
    here = command("search", "a red square", *model, "--json", "--runtime", "pytorch", "--precision", "fp32")
    assert (there.status, here.status) == (0, 0), there.err + here.err
    scores = [[hit["score"] for hit in json.loads(done.out)] for done in (there, here)]
    np.testing.assert_allclose(*scores, atol=1e-3)
    assert "runtime    triton" in command("info", *model, env=env | {"IMAGE_SEARCH_RUNTIME": "triton"}).out
    measured = command("evaluate", *model, env=env, timeout=400)
    assert measured.status == 0, measured.err
    away = command("search", "a red square", *model, "--model-url", "http://127.0.0.1:9")
    assert (away.status, away.err.count("\n")) == (3, 1)
    assert away.err.startswith("error: the model server 127.0.0.1:9 does not answer")


def test_a_tutorials_pipeline_embeds_there(elsewhere: Elsewhere, photos: Photos) -> None:
    def embed(**where: str) -> np.ndarray:
        pipeline = (
            pipe.input("path")
            .map("path", "img", ops.image_decode.cv2("rgb"))
            .map("img", "vec", ops.image_text_embedding.clip(model_name="builtin", modality="image", **where))
            .map("vec", "vec", ops.towhee.np_normalize())
            .output("vec")
        )
        return np.stack([pipeline(str(path)).get()[0] for path in photos.paths])

    there = embed(runtime="triton", model_url=elsewhere.url)
    assert cosines(there, embed(runtime="pytorch", device="cpu")).min() >= 0.999  # bf16, where a CPU has it


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_insert_goes_on_when_the_server_is_back(
    how: signal.Signals, elsewhere: Elsewhere, lite: Settings, tmp_path: Path
) -> None:
    photos = tmp_path / "many"
    draw_images(photos, 90)
    away: list[threading.Thread] = []

    def on_progress(summary: Summary, total: int) -> None:
        if summary.inserted and not away:
            elsewhere.server.stop(how)
            away.append(threading.Timer(2, elsewhere.server.start))  # by then, a batch has failed its third try
            away[0].start()

    settings = dataclasses.replace(lite, batch_size=4, model_url=elsewhere.url)
    summary = run_insert(photos, settings, on_progress=on_progress)
    away[0].join()
    assert (summary.inserted, summary.rejected) == (90, 0)
    other = dataclasses.replace(lite, collection="here", runtime="pytorch", precision="fp32")
    run_insert(photos, other)
    there, here = (
        np.array([row["embedding"] for row in sorted(_rows(one), key=lambda row: str(row["path"]))])
        for one in (settings, other)
    )
    assert cosines(there, here).min() >= 0.9999


def _rows(settings: Settings) -> list[dict[str, object]]:
    return Collection(settings.uri, settings.collection).query("", ["path", "embedding"], limit=1000)


def test_a_probe_tells_whether_the_server_has_the_model(elsewhere: Elsewhere) -> None:
    probe = ServerProbe(get_model("builtin"), elsewhere.url, load_model("builtin").model_id)
    probe()
    with pytest.raises(ModelUnavailable, match=r"has no 'clip_vit_base_patch32-image' ready \(status 404\)"):
        ServerProbe(get_model("clip_vit_base_patch32"), elsewhere.url, "")()
    elsewhere.server.stop()
    try:
        with pytest.raises(ModelUnavailable, match="does not answer"):
            probe()
    finally:
        elsewhere.server.start()
    probe()


def test_an_insert_ends_when_the_server_stays_away(
    elsewhere: Elsewhere, lite: Settings, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "AWAY_SECONDS", 1.0)
    settings = dataclasses.replace(lite, model_url=elsewhere.url)
    load_model("builtin", "", "auto", "auto", 0, "auto", elsewhere.url)  # the server was there before
    elsewhere.server.stop()
    try:
        with pytest.raises(ModelUnavailable, match="does not answer"):
            run_insert(photos.csv, settings)
    finally:
        elsewhere.server.start()


def test_another_model_on_the_server_is_refused(
    elsewhere: Elsewhere, small: str, lite: Settings, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    draw_images(photos, 4)
    settings = dataclasses.replace(lite, model=small, model_url=elsewhere.url)
    assert run_insert(photos, settings).inserted == 4
    searcher, other_searcher = Searcher(settings), Searcher(settings)
    assert searcher.by_text("a dog").hits
    searcher.probe()
    elsewhere.server.stop()
    other = write_model_folder(tmp_path / "other" / "small", spec_of(VIT), random_network(VIT, seed=9))
    elsewhere.export(Settings(model=other))
    elsewhere.server.start()
    draw_images(photos, 6)
    with pytest.raises(ModelError, match="unknown model: 'small-image' version"):  # the model was loaded before
        run_insert(photos, settings)
    for one in (searcher, other_searcher):  # with the model loaded, and without
        with pytest.raises(ModelMismatch, match=r"has .*small@.* in fp32 by now"):
            one.probe()
    load_model.cache_clear()
    with pytest.raises(ModelMismatch, match=r"has .*/other/small@"):
        run_insert(photos, settings)
    with pytest.raises(ModelMismatch):
        other_searcher.by_text("a dog")
    searcher.close()
