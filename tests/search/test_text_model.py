"""`--text-model`: another text encoder for the images of a collection, which are not embedded again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pipelines import Searcher, Settings, run_insert
from pipelines.errors import InputError
from pipelines.models import text_models
from pipelines.models.clip import ClipModel
from pipelines.models.registry import get_model
from pipelines.models.spec import ModelSpec
from pipelines.models.text_models import get_text_model
from tests.support import families
from tests.support.photos import Photos

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, torchvision: None) -> ModelSpec:
    """Register a small text model for `builtin`'s images, with random weights."""
    (tmp_path / "text").mkdir()
    spec = families.multilingual_clip(tmp_path / "text", dim=256).spec
    spec = dataclasses.replace(spec, name="small-text", fits=("builtin",))
    monkeypatch.setattr(text_models, "_TEXT_MODELS", (*text_models._TEXT_MODELS, spec))
    return spec


def test_a_text_model_reads_the_query_and_the_images_stay(small: ModelSpec, lite: Settings, photos: Photos) -> None:
    run_insert(photos.csv, lite, rejects=str(photos.folder / "rejected.csv"))
    with Searcher(lite) as searcher, searcher.reading() as opened:
        images = opened.ranker.fetch_vectors(list(range(12)))
        before = searcher.info().model
    with Searcher(dataclasses.replace(lite, text_model="small-text")) as searcher:
        found = searcher.by_text("ein Hund im Schnee", 12)
        assert searcher.info().model == before
        assert found.notes == ()  # it reads German
        greek = searcher.by_text("σκύλος").notes
    query = ClipModel(small).embed_texts(["ein Hund im Schnee"])[0]
    scores = images @ (query / np.linalg.norm(query))
    assert [hit.id for hit in found.hits] == np.argsort(-scores).tolist()
    np.testing.assert_allclose([hit.score for hit in found.hits], np.sort(scores)[::-1], atol=2e-3)
    assert [str(note) for note in greek] == ["“σκύλος” looks Greek, which small-text does not read; it reads de en ja"]


@pytest.mark.parametrize(
    ("name", "model", "message"),
    [
        ("nothing", "clip_vit_base_patch32",
         r"for clip_vit_base_patch32 there are clip-ViT-B-32-multilingual-v1 and XLM-Roberta-Large-Vit-B-32$"),
        ("XLM-Roberta-Large-Vit-L-14", "clip_vit_large_patch14_336", "index with --model xlm-roberta-base-ViT-B-32$"),
        ("clip-ViT-B-32-multilingual-v1", "clip_vit_base_patch32_laion2b", "there is no text model; to search in many"),
    ],
)  # fmt: skip
def test_a_text_model_that_does_not_fit_is_refused_with_those_that_do(name: str, model: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        get_text_model(name, model)


def test_a_collection_without_a_text_model_is_refused_before_the_first_query(lite: Settings, photos: Photos) -> None:
    run_insert(photos.csv, lite, rejects=str(photos.folder / "rejected.csv"))
    with pytest.raises(InputError, match="for builtin there is no text model"):
        Searcher(dataclasses.replace(lite, text_model="clip-ViT-B-32-multilingual-v1"))


def test_a_text_model_is_no_model_to_index_with() -> None:
    with pytest.raises(InputError, match="reads texts only: index with --model clip_vit_base_patch32, search with"):
        get_model("clip-ViT-B-32-multilingual-v1")
