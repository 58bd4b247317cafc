"""`--precision`: the type that the model computes in is a choice, stored in every row, and no part of the model id."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from pipelines import Settings, run_insert
from pipelines.cli.output import print_info
from pipelines.errors import InputError
from pipelines.milvus.collection import Collection
from pipelines.models.clip import ClipModel
from pipelines.models.fingerprint import fingerprint
from pipelines.models.openvino_runtime import OpenVinoRuntime
from pipelines.models.pytorch_runtime import PyTorchRuntime
from pipelines.models.registry import BUILTIN
from pipelines.models.runtime import Runtime
from pipelines.models.weights import locate
from pipelines.operators.embedding import ClipEmbedding
from tests.support.images import photograph
from tests.support.models import cosines, odd_texts
from tests.support.photos import Photos

PATH = locate(BUILTIN)
IMAGES = np.stack([np.array(photograph(160, 160, seed)) for seed in range(4)])


def openvino(precision: str) -> Runtime:
    return OpenVinoRuntime(BUILTIN, PATH, fingerprint(PATH), precision=precision)


def pytorch(precision: str) -> Runtime:
    return PyTorchRuntime(BUILTIN, PATH, "cpu", precision)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.long
def test_fp32_is_the_same_to_five_digits_by_both_runtimes_on_every_machine() -> None:
    ours, theirs = openvino("fp32"), pytorch("fp32")
    assert (ours.precision, theirs.precision) == ("fp32", "fp32")
    np.testing.assert_allclose(unit(ours.embed_images(IMAGES)), unit(theirs.embed_images(IMAGES)), atol=1e-5, rtol=0)
    model = ClipModel(BUILTIN, device="cpu", precision="fp32")
    exact = ClipModel(BUILTIN, device="cpu", runtime="pytorch", precision="fp32")
    texts = odd_texts(40)
    np.testing.assert_allclose(unit(model.embed_texts(texts)), unit(exact.embed_texts(texts)), atol=1e-5, rtol=0)
    assert (model.model_id, model.runtime.precision) == (exact.model_id, "fp32")


@pytest.mark.long
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_runs_on_every_cpu(precision: str) -> None:
    """OpenVINO runs it if the CPU has instructions for it, otherwise PyTorch does."""
    model, exact = ClipModel(BUILTIN, device="cpu", precision=precision), pytorch("fp32")
    assert model.runtime.precision == precision
    assert f" {precision} on cpu" in model.description
    similar = cosines(model.embed_images(IMAGES), exact.embed_images(IMAGES))
    assert 0.999 < similar.min() < 1 - 1e-9


def test_a_precision_that_is_not_known_is_refused() -> None:
    with pytest.raises(InputError, match="there is no precision 'int4'; known are auto, fp32, bf16, fp16"):
        ClipModel(BUILTIN, device="cpu", precision="int4")


@pytest.mark.long
def test_the_precision_is_recorded_and_shown_and_may_differ_from_row_to_row(
    lite: Settings, photos: Photos, capsys: pytest.CaptureFixture[str]
) -> None:
    rejects = str(photos.folder / "rejected.csv")
    for limit, precision in ((5, "fp32"), (0, "bf16")):
        settings = dataclasses.replace(lite, precision=precision)
        summary = run_insert(photos.csv, settings, limit=limit, rejects=rejects)
        assert f" {precision} on cpu" in summary.runtime
    assert (summary.inserted, summary.unchanged) == (7, 5)
    collection = Collection(lite.uri, lite.collection)
    print_info(collection.info(), collection.precisions(), lite, as_json=False)
    assert "precision  bf16, fp32\n" in capsys.readouterr().out
    assert {len(collection.precisions(until=precision)) for precision in ("fp32", "bf16")} == {1, 2}  # 1 for the first


@pytest.mark.parametrize(("device", "said"), [(0, "device=0: there is no such GPU here"), (-1, "")])
def test_a_device_by_number_without_a_gpu_is_the_cpu(
    device: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    embed: Callable[..., np.ndarray] = ClipEmbedding("builtin", "text", device=device)
    assert embed("a dog").shape == (256,)
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == bool(said)
