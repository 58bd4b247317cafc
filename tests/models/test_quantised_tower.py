"""The image tower in int8: near float32 on the user's own images, or refused."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import InputError, ModelError
from pipelines.milvus.collection import Collection
from pipelines.models import quantised_tower
from pipelines.models.clip import load_model
from pipelines.models.openvino_runtime import OpenVinoRuntime
from tests.support.images import photograph
from tests.support.models import VIT, cosines, random_network, save, spec_of
from tests.support.photos import draw_images

pytestmark = pytest.mark.skipif(find_spec("nncf") is None, reason="int8 needs nncf")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IMAGE_SEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "converted"


def images_of(size: int, count: int) -> np.ndarray:
    return np.stack([np.array(photograph(size, size, seed)) for seed in range(count)])


@pytest.mark.slow
def test_builtin_in_int8_is_near_float32_on_images_it_has_not_seen(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load_model.cache_clear()
    exact, quantised = load_model("builtin", precision="fp32"), load_model("builtin", precision="int8")
    images = images_of(exact.spec.image_size, 100)
    quantised.calibrate(lambda: images[:60])
    assert "cosine to float32 at least 0.9" in capsys.readouterr().err
    assert cosines(quantised.embed_images(images[60:]), exact.embed_images(images[60:])).min() > 0.98
    load_model.cache_clear()
    again = load_model("builtin", precision="int8")
    again.calibrate(lambda: pytest.fail("it was calibrated already"))
    np.testing.assert_array_equal(again.embed_images(images[:8]), quantised.embed_images(images[:8]))


@pytest.mark.long
def test_channels_that_are_far_larger_than_others_cost_nothing(tmp_path: Path) -> None:
    network = random_network(VIT)
    weights = network.state_dict()
    for block in ("visual.transformer.resblocks.0", "visual.transformer.resblocks.1"):
        weights[f"{block}.ln_2.weight"][:2] *= 1000  # the next layer undoes this: in float32 nothing changes
        weights[f"{block}.mlp.c_fc.weight"][:, :2] /= 1000
    network.load_state_dict(weights)
    spec, path = spec_of(VIT), Path(save(network, tmp_path / "w.safetensors"))
    runtime, exact = (OpenVinoRuntime(spec, path, "1", precision=precision) for precision in ("int8", "fp32"))
    runtime.calibrate(lambda: images_of(32, 60))
    images = images_of(32, 90)[60:]
    assert cosines(runtime.embed_images(images), exact.embed_images(images)).min() > 0.98


@pytest.mark.long
def test_a_tower_that_would_lose_too_much_is_refused(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised_tower, "LEAST_COSINE", 0.999999)
    path = Path(save(random_network(VIT), tmp_path / "w.safetensors"))
    runtime = OpenVinoRuntime(spec_of(VIT), path, "1", precision="int8")
    with pytest.raises(InputError, match=r"keeps a cosine of .* use --precision bf16"):
        runtime.calibrate(lambda: images_of(32, 60))
    assert not list(cache.glob("*int8*"))
    with pytest.raises(ModelError, match="not calibrated"):
        runtime.embed_images(images_of(32, 1))


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    runtime = OpenVinoRuntime(
        spec_of(VIT), Path(save(random_network(VIT), tmp_path / "w.safetensors")), "1", precision="int8"
    )
    with pytest.raises(InputError, match="at least 40 images, and here are 39"):
        runtime.calibrate(lambda: images_of(32, 39))


@pytest.mark.long
def test_a_collection_in_int8_is_searched_in_any_precision(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    draw_images(folder, 48)
    settings = Settings(uri=str(tmp_path / "search.db"), model="builtin", precision="int8")
    assert "int8" in run_insert(folder, settings).runtime
    assert Collection(settings.uri, settings.collection).precisions() == ["int8"]
    with Searcher(Settings(uri=settings.uri)) as searcher:
        image = folder / "00007.jpg"
        assert searcher.by_image(image, 1).hits[0].path == str(image)
    said = []
    for number in (48, 49):  # mixing is allowed, and reported once
        draw_images(folder, number + 1)
        summary = run_insert(folder, Settings(uri=settings.uri, precision="fp32"))
        assert summary.inserted == 1
        said.append([note for note in summary.notes if "int8 beside others in fp32" in note])
    assert list(map(len, said)) == [1, 0]
