"""The operators `image_text_embedding.clip` and `towhee.np_normalize`: one item or many, good images or bad."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.errors import InputError
from pipelines.models.clip import load_model
from pipelines.models.registry import BUILTIN
from pipelines.operators.embedding import ClipEmbedding, Normalize
from pipelines.operators.image_decode import ImageDecode
from tests.support.photos import Photos

SIDE = BUILTIN.architecture.image_resolution


def test_clip_embeds_one_item_as_it_embeds_many(photos: Photos) -> None:
    decode = ImageDecode("rgb", size=SIDE)
    embed = ClipEmbedding("builtin", "image", device="cpu")
    images = decode([str(path) for path in photos.paths])
    together = Normalize()(embed(images))
    one_by_one = np.stack([Normalize()(embed(image)) for image in images])
    assert together.shape == (12, 256)
    assert together.dtype == np.float32
    assert (together * one_by_one).sum(axis=1).min() > 0.999


def test_clip_takes_images_of_any_size(photos: Photos) -> None:
    """An image that was decoded in full gives the same embedding as one decoded to the model's size."""
    embed = ClipEmbedding("builtin", "image")
    full, fitted = ImageDecode("rgb")(str(photos.paths[0])), ImageDecode("rgb", size=SIDE)(str(photos.paths[0]))
    assert full.shape == (72, 96, 3)
    np.testing.assert_allclose(embed(full), embed(fitted), rtol=0, atol=1e-6)


def test_undecodable_images_embed_to_nan_and_leave_the_others_alone(photos: Photos) -> None:
    decode, embed = ImageDecode("rgb", size=SIDE, reasons=True), ClipEmbedding("builtin", "image")
    images, reasons = decode([str(photos.paths[0]), "/nowhere.jpg", str(photos.paths[1])])
    embeddings = embed(images)
    assert reasons == ["", "no such file", ""]
    assert np.isnan(embeddings[1]).all()
    assert np.isfinite(embeddings[[0, 2]]).all()


def test_models_are_loaded_once() -> None:
    assert load_model("builtin") is load_model("builtin")
    assert ClipEmbedding("builtin", "image")._model is ClipEmbedding("builtin", "text")._model


def test_normalize_gives_unit_rows_and_nan_for_zero() -> None:
    rows = Normalize()(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(rows[0], [0.6, 0.8])
    assert np.isnan(rows[1]).all()


def test_an_unknown_model_is_refused_with_the_most_similar_name() -> None:
    with pytest.raises(InputError, match=r"did you mean clip_vit_large_patch14\?"):
        ClipEmbedding("clip_vit_huge", "text")
