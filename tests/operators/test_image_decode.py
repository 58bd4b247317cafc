"""The operator `image_decode.cv2` decodes lists in order, and a bad image costs only itself."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks.hostile_files import qoi_of_differences
from pipelines import Settings
from pipelines.declarations import build_image_embedding
from pipelines.engine import run
from pipelines.evaluation.report import thumbnails
from pipelines.models.clip import model_of
from pipelines.operators import image_decode
from pipelines.operators.image_decode import ImageDecode
from pipelines.training.dataset import decode_images
from tests.support.images import UPRIGHT, colours_at_corners, encode, photograph, quadrants
from tests.support.photos import Photos
from tests.support.raw_images import dng


def test_a_list_keeps_its_order_and_a_bad_image_costs_only_itself() -> None:
    greys = list(range(0, 250, 10))
    sources = [encode(Image.new("RGB", (30 + 20 * (grey % 7), 40), (grey,) * 3), "PNG") for grey in greys]
    sources[5], sources[11] = b"", b"<html>"
    images, reasons = ImageDecode(size=32, reasons=True, workers=4)(sources)
    assert [bool(reason) for reason in reasons] == [index in (5, 11) for index in range(len(greys))]
    assert [reason for index, reason in enumerate(reasons) if index not in (5, 11)] == [""] * (len(greys) - 2)
    assert [image.shape for image in (images[5], images[11])] == [(0, 0, 3)] * 2
    assert [int(p.mean()) for i, p in enumerate(images) if i not in (5, 11)] == greys[:5] + greys[6:11] + greys[12:]


def test_without_reasons_a_bad_image_is_logged_and_has_no_pixels(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        image = ImageDecode()("/nowhere/cat.jpg")
    assert image.shape == (0, 0, 3)
    assert "/nowhere/cat.jpg: no such file" in caplog.text


def test_the_order_of_the_channels_is_the_requested_one() -> None:
    data = encode(Image.new("RGB", (9, 9), (200, 100, 50)), "PNG")
    assert tuple(ImageDecode("rgb")(data)[4, 4]) == (200, 100, 50)
    assert tuple(ImageDecode("bgr")(data)[4, 4]) == (50, 100, 200)
    with pytest.raises(ValueError, match="'rgb' or 'bgr'"):
        ImageDecode("grey")


@pytest.mark.parametrize(("form", "name"), [("PNG", "a.jpg"), ("JPEG", "b.png"), ("WEBP", "no extension")])
def test_the_content_of_a_file_decides_and_not_its_name(form: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(encode(quadrants(), form))
    assert colours_at_corners(ImageDecode()(tmp_path / name)) == UPRIGHT


def test_path_objects_are_decoded(photos: Photos) -> None:
    assert ImageDecode("bgr")(Path(photos.paths[0])).shape == (72, 96, 3)


def test_an_image_past_its_deadline_costs_only_itself() -> None:
    operator = ImageDecode(size=32, reasons=True, workers=2, deadline=True)
    assert operator._slow is not None
    operator._slow._seconds = 0.05
    good = encode(quadrants(), "PNG")
    images, reasons = operator([good, qoi_of_differences(1000), good])
    assert reasons == ["", "it takes more than 0.05 s to decode", ""]
    assert [image.size > 0 for image in images] == [True, False, True]
    assert not operator._slow._idle


@pytest.mark.long
def test_by_a_deadline_images_have_the_same_pixels() -> None:
    image = photograph(90, 64)
    sources = [encode(image, form) for form in ("JPEG2000", "AVIF", "TGA", "QOI")]
    sources += [encode(image, "TIFF", compression="jpeg"), encode(image, "JPEG"), dng(quadrants(64, 64)), b"<html>"]
    operator = ImageDecode(size=32, reasons=True, workers=1, deadline=True)
    images, reasons = operator(sources)
    others, other_reasons = ImageDecode(size=32, reasons=True, workers=1)(sources)
    assert reasons == other_reasons
    assert all(map(np.array_equal, images, others))
    (process,) = operator._slow._idle  # type: ignore[union-attr]
    assert process is not None
    operator.flush()
    assert not psutil.pid_exists(process._process.pid)


def test_images_that_are_known_to_be_quick_need_no_process() -> None:
    image = photograph(90, 64)
    sources = [encode(image, form) for form in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "PPM", "BMP")]
    sources += [encode(image, "JPEG", progressive=True), encode(image, "TIFF", compression="tiff_lzw"), b"", b"<html>"]
    operator = ImageDecode(size=32, reasons=True, workers=1, deadline=True)
    images, _ = operator(sources)
    assert [image.size > 0 for image in images] == [True] * 9 + [False] * 2
    assert not operator._slow._idle  # type: ignore[union-attr]


@pytest.mark.long
def test_every_command_that_decodes_has_the_deadline(
    lite: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`tests/indexing/test_broken.py` tests that of `insert`."""
    monkeypatch.setattr(image_decode, "PATIENT_SECONDS", 0.3)
    slow, good = tmp_path / "slow.qoi", tmp_path / "good.png"
    slow.write_bytes(qoi_of_differences(1500))
    good.write_bytes(encode(quadrants(), "PNG"))
    why = "it takes more than 0.3 s to decode"
    searching = build_image_embedding(model_of(lite), lite)
    reasons, embeddings = run(searching, [str(slow), str(good)])
    assert (list(reasons), len(embeddings)) == ([why, ""], 2)
    searching.flush()
    paths = [str(slow), str(good)]
    assert decode_images(paths, 32, tmp_path, False, 1, lambda *_: None, lambda: False)[1] == [why, ""]
    assert list(thumbnails(paths, False)) == [str(good)]
