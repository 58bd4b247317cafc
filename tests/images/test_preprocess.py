"""The model's input is that of CLIP's references: to within 0.1 levels unless a JPEG is shrunk, else nearly."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data as samples
from skimage.metrics import structural_similarity

from pipelines import Searcher, Settings, run_insert
from pipelines.images.decode import _jpeg_shrink, decode
from pipelines.milvus.connection import close_all
from pipelines.models.registry import get_model
from pipelines.operators.image_decode import ImageDecode
from tests.support.images import encode, photograph, reference
from tests.support.photos import write_csv

SIZE = 224

SPEC = get_model("clip_vit_base_patch32")

SMALL = ((500, 375), (375, 500), (640, 447), (224, 224), (100, 136), (1000, 230))

LARGE = ((1920, 1080), (1200, 2000), (4000, 3000))


def hugging_face(image: Image.Image) -> np.ndarray:
    """Return float32[3, 224, 224] from `CLIPImageProcessor` with its defaults, the settings of OpenAI's models."""
    from transformers import CLIPImageProcessor

    return np.asarray(CLIPImageProcessor()(image, return_tensors="np")["pixel_values"][0])


def open_clip(image: Image.Image) -> np.ndarray:
    """Return the same from open_clip's transform."""
    from open_clip.transform import image_transform

    return image_transform(SIZE, is_train=False, mean=SPEC.mean, std=SPEC.std)(image).numpy()


def levels(normalised: np.ndarray) -> np.ndarray:
    """Return normalised pixels as levels of 0..255, float[224, 224, 3]."""
    return (normalised.transpose(1, 2, 0) * SPEC.std + SPEC.mean) * 255


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("reference", [hugging_face, open_clip])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_without_a_shrink_the_crop_is_the_references(reference: Callable[[Image.Image], np.ndarray], form: str) -> None:
    for seed, size in enumerate(SMALL):
        data = encode(photograph(*size, seed=seed), form)
        difference = np.abs(decode(data, SIZE) - levels(reference(Image.open(io.BytesIO(data)).convert("RGB"))))
        assert difference.mean() <= 0.1, size
        assert difference.max() <= 8, size


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize("size", LARGE)
def test_a_large_jpeg_that_is_shrunk_while_decoding_stays_near_the_reference(size: tuple[int, int]) -> None:
    data = encode(photograph(*size), "JPEG", quality=92)
    expected = levels(open_clip(Image.open(io.BytesIO(data))))
    got = decode(data, SIZE)
    assert np.abs(got - expected).mean() <= 1
    assert structural_similarity(got, expected.round().astype(np.uint8), channel_axis=2) >= 0.98
    exact = np.abs(decode(data, SIZE, exact=True) - expected)
    assert exact.mean() <= 0.1
    assert exact.max() <= 8
    assert not np.array_equal(got, decode(data, SIZE, exact=True)), "nothing was shrunk: this test saw nothing"


def test_exact_preprocessing_is_an_option(command: Callable[..., Any], lite: Settings, tmp_path: Path) -> None:
    data = encode(photograph(1920, 1080), "JPEG", quality=92)
    operator = ImageDecode("rgb", size=64, exact=True)
    np.testing.assert_array_equal(operator(data), decode(data, 64, exact=True))
    (tmp_path / "a.jpg").write_bytes(data)
    table = write_csv(tmp_path / "photos.csv", ["path"], [["a.jpg"]])
    run_insert(table, lite)
    asked_for = dataclasses.replace(lite, exact_preprocess=True)
    score = Searcher(asked_for).by_image(data).hits[0].score
    assert 0.99 <= score < 0.999999, "searched as the reference decodes it, inserted shrunk"
    close_all()  # only one process can open the file
    done = command(
        "search", "--image", tmp_path / "a.jpg", "--uri", lite.uri, env={"IMAGE_SEARCH_EXACT_PREPROCESS": "1"}
    )
    assert (done.status, done.err) == (0, "")
    assert float(done.out.splitlines()[2].split()[2]) == pytest.approx(score, abs=1e-4)


# --- Pillow's pixels -------------------------------------------------------------------------------------------------


def real_images() -> list[Image.Image]:
    return [Image.fromarray(getattr(samples, name)()) for name in ("astronaut", "chelsea", "coffee", "rocket")]


def test_without_a_shrink_the_pixels_are_those_of_clips_own_preprocessing() -> None:
    made = [
        photograph(500, 375),
        photograph(375, 500, seed=2),
        photograph(300, 225, seed=3),
        photograph(640, 440, seed=4),
    ]
    for image in (*made, *real_images()):
        for form in ("JPEG", "PNG"):
            data = encode(image, form, **({"quality": 92} if form == "JPEG" else {}))
            assert min(image.size) < 4 * SIZE, "a JPEG with a longer short side would be shrunk"
            difference = np.abs(decode(data, SIZE).astype(int) - reference(data, SIZE))
            assert difference.mean() <= 0.1, (image.size, form)
            assert difference.max() <= 8, (image.size, form)


@pytest.mark.long
def test_with_a_shrink_the_image_looks_the_same() -> None:
    enlarged = [image.resize((1800, 1800 * image.height // image.width), 1) for image in real_images()]
    for image in (photograph(1920, 1080), photograph(1200, 2000, seed=2), *enlarged):
        data = encode(image, "JPEG", quality=90)
        got, expected = decode(data, SIZE), reference(data, SIZE)
        assert np.abs(got.astype(int) - expected).mean() <= 3, image.size
        assert structural_similarity(got, expected, channel_axis=2) >= 0.98, image.size


@pytest.mark.long
@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_at_each_threshold_of_the_jpeg_shrink_the_image_stays_the_same(factor: int, off: int) -> None:
    short = 2 * 112 * factor + off
    data = encode(photograph(short + 100, short), "JPEG", quality=90)
    assert np.abs(decode(data, 112).astype(int) - reference(data, 112)).mean() < 3


@pytest.mark.parametrize(("short", "expected"), [(895, 1), (896, 2), (1791, 2), (1792, 4), (3583, 4), (3584, 8)])
def test_a_jpeg_is_shrunk_from_twice_the_requested_size_on(short: int, expected: int) -> None:
    """Half of an image of 896 pixels still has 448, twice CLIP's 224."""
    image = Image.open(io.BytesIO(encode(Image.new("RGB", (short + 10, short)), "JPEG")))
    assert _jpeg_shrink(image, 224, None) == expected
    assert _jpeg_shrink(image, None, None) == 1
