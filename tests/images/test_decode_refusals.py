"""A damaged, hostile or unsupported file is refused with a reason, and never crashes, hangs or fills the process."""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import hostile_files
from pipelines.errors import UnreadableImage
from pipelines.images.decode import decode
from pipelines.images.formats import MAX_PIXELS_STORED
from pipelines.operators.image_decode import ImageDecode
from tests.support.images import encode, jpeg_claiming, photograph, png_bomb, quadrants, webp_claiming
from tests.support.program import run_code
from tests.support.rare_images import JPEG_12_BIT, JPEG_LS, JPEG_XL, JPEG_XR
from tests.support.raw_images import dng

SIZE = 224


def refusal(data: bytes) -> str:
    """Return the reason why an image is refused."""
    with pytest.raises(UnreadableImage) as caught:
        decode(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def reason_for(source: str | bytes) -> str:
    """Return the reason why the operator leaves out an image; the operator never raises."""
    image, reason = ImageDecode(size=SIZE, reasons=True)(source)
    assert image.shape == (0, 0, 3)
    assert reason
    assert "\n" not in reason
    return str(reason)


# --- Damaged ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("percent", [2, 50, 99])
def test_a_truncated_image_is_refused_with_a_reason(form: str, percent: int) -> None:
    data = encode(photograph(400, 300), form)
    reason = reason_for(data[: len(data) * percent // 100])
    assert any(word in reason for word in ("damaged", "truncated"))


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("percent", [2, 25, 50, 75, 99])
def test_a_jpeg_cut_anywhere_is_refused(progressive: bool, percent: int) -> None:
    data = encode(photograph(400, 300), "JPEG", progressive=progressive)
    assert any(word in refusal(data[: len(data) * percent // 100]) for word in ("truncated", "damaged"))


@pytest.mark.parametrize("size", [None, 32])
def test_a_jpeg_without_its_end_marker_is_refused(size: int | None) -> None:
    with pytest.raises(UnreadableImage, match="truncated"):
        decode(encode(photograph(400, 300), "JPEG")[:-2], size)


def test_zero_bytes_after_the_end_are_ignored() -> None:
    data = encode(photograph(200, 150), "JPEG")
    assert np.array_equal(decode(data + bytes(100)), decode(data))


def test_a_jpeg_damaged_in_the_middle_is_decoded_as_in_the_reference() -> None:
    data = encode(photograph(200, 150), "JPEG")
    middle = len(data) // 2
    assert decode(data[:middle] + bytes(200) + data[middle + 200 :]).shape == (150, 200, 3)


def test_junk_before_a_jpeg_is_refused() -> None:
    assert "not an image" in refusal(b"xx" + encode(quadrants(), "JPEG"))


def test_a_header_followed_by_noise_is_refused() -> None:
    data = encode(photograph(200, 150), "JPEG")
    start = data[: data.index(b"\xff\xc0") + 19]
    assert "damaged" in refusal(start + np.random.default_rng(0).bytes(3000))


def test_a_wrong_byte_in_a_png_is_refused() -> None:
    data = bytearray(encode(photograph(50, 50), "PNG"))
    data[len(data) // 2] ^= 255
    assert "damaged" in refusal(bytes(data))


# --- Not an image, or not supported ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>", "HTML"),
        (b'\xef\xbb\xbf<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"%PDF-1.7\n1 0 obj", "PDF"),
        (np.random.default_rng(0).bytes(5000), "not an image"),
        (b"\xff\xd8", "damaged"),
        (b"\xff\xd8\xff", "damaged"),
        (b"\0\0\0\x20ftypheic\0\0\0\0" + bytes(64), ("HEIC", "damaged")),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not an image"),
        (b"id,path\n1,a.jpg\n", "not an image"),
    ],
    ids=["empty", "html", "svg", "pdf", "random", "soi", "soi+1", "heic", "eps", "csv"],
)
def test_a_file_that_is_not_an_image_is_refused_with_its_kind(
    data: bytes, word: str | tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    for reason in (reason_for(str(tmp_path / "a.jpg")), reason_for(data)):
        assert any(part in reason for part in ([word] if isinstance(word, str) else word)), reason


def test_floating_point_pixels_are_refused_by_name() -> None:
    assert "floating-point" in reason_for(encode(Image.new("F", (9, 9), 0.5), "TIFF"))


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(UnreadableImage, match="empty"):
        decode(b"")


def floating_point_rgb() -> bytes:
    import cv2

    return bytes(cv2.imencode(".tif", np.full((8, 8, 3), 0.5, np.float32))[1])


REFUSED = {
    "12 bits": (JPEG_12_BIT, "12 bits"),
    "JPEG-LS": (JPEG_LS, "JPEG-LS"),
    "JPEG XL cut": (JPEG_XL[:30], "JPEG XL"),
    "JPEG XR": (JPEG_XR, "JPEG XR"),
    "EPS": (encode(quadrants(64, 64), "EPS"), "PostScript"),
    "PFM": (b"PF\n1 1\n-1.0\n" + bytes(12), "floating-point"),
    "grey PFM": (b"Pf\n1 1\n-1.0\n" + bytes(4), "floating-point"),
    "float RGB TIFF": (floating_point_rgb(), "floating-point"),
    "HDR": (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n" + bytes(4), "Radiance HDR"),
    "EXR": (b"\x76\x2f\x31\x01" + bytes(100), "OpenEXR"),
    "PSD": (b"8BPS\0\1" + bytes(100), "Photoshop"),
    "DNG": (dng(quadrants(64, 64))[:400], "RAW"),
    "CR3": (b"\0\0\0\x18ftypcrx " + bytes(100), "RAW"),
    "RAF": (b"FUJIFILMCCD-RAW 0201" + bytes(100), "RAW"),
    "MP4": (b"\0\0\0\x18ftypisom" + bytes(100), "a video"),
    "WebM": (b"\x1a\x45\xdf\xa3" + bytes(100), "a video"),
    "AVI": (b"RIFF\0\0\1\0AVI LIST" + bytes(100), "a video"),
    "ZIP": (b"PK\x03\x04" + bytes(100), "ZIP"),
    "gzip": (b"\x1f\x8b\x08" + bytes(100), "gzip"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    "AVIF cut": (b"\0\0\0\x20ftypavif" + bytes(20), "AVIF damaged"),
    "PNG cut": (b"\x89PNG\r\n", "PNG damaged"),
    "GIF cut": (b"GIF89a", "GIF damaged"),
    "WebP cut": (b"RIFF\x24\0\0\0WEBPVP8 ", "WebP damaged"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_an_unsupported_file_is_refused_by_its_name(kind: str) -> None:
    data, word = REFUSED[kind]
    assert word in refusal(data)


# --- Hostile ---------------------------------------------------------------------------------------------------------


def test_a_tiny_webp_that_claims_268_megapixels_is_refused_by_its_header() -> None:
    side = 16_383
    assert side**2 > MAX_PIXELS_STORED
    assert "too many pixels" in refusal(webp_claiming(side))


# In a separate process, because a mistake here is a crash, a hang or a full memory.
_HOSTILE = """
import json, os, re, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (50, 55))
from pipelines.operators.image_decode import ImageDecode
names = [os.fsdecode(bytes.fromhex(name)) for name in json.loads(sys.argv[1])]
images, reasons = ImageDecode(size=224, reasons=True, workers=1)(names)
# not ru_maxrss: that starts with the peak of the process that forked
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10
print(json.dumps({"shapes": [p.shape for p in images], "reasons": reasons, "peak_mb": peak}))
"""


def test_hostile_files_and_names_neither_crash_nor_hang_nor_fill_the_memory(tmp_path: Path) -> None:
    good = encode(quadrants(), "JPEG")
    odd_names = [b"\xff\xfe.jpg", b"new\nline.jpg", b"n" * 250 + b".jpg", "Füße 猫.jpg".encode()]
    root = os.fsencode(tmp_path)
    for name in odd_names:
        with open(root + b"/" + name, "wb") as file:
            file.write(good)
    for shape in ((1, 10_000), (10_000, 1)):
        odd_names.append(b"line of %d.png" % shape[0])
        (tmp_path / os.fsdecode(odd_names[-1])).write_bytes(encode(Image.new("RGB", shape), "PNG"))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "bomb.png").write_bytes(png_bomb(20_000))
    (tmp_path / "chunk.png").write_bytes(encode(quadrants(), "PNG")[:33] + b"\xff\xff\xff\xf0IDAT" + bytes(200))
    (tmp_path / "cut.jpg").write_bytes(jpeg_claiming(15_900, 15_900)[:-20])
    (tmp_path / "bomb.jpg").write_bytes(jpeg_claiming(30_000, 30_000))
    refused = {
        b"": "the path is empty", root + b"/folder": "a folder, not a file", root + b"/fifo": "not a regular file",
        b"/dev/zero": "not a regular file", root + b"/broken": "no such file", root + b"/missing": "no such file",
        root + b"/missing \xff": "no such file", root + b"/loop": "Too many levels of symbolic links",
        root + b"/" + b"n" * 300: "File name too long", b"a\0b": "embedded null byte",
        root + b"/bomb.png": "too many pixels", root + b"/bomb.jpg": "too many pixels (30000×30000)",
        b"http://localhost/a.jpg": "private address", root + b"/chunk.png": "damaged", root + b"/cut.jpg": "damaged",
    }  # fmt: skip
    names = [root + b"/" + name for name in odd_names] + list(refused)
    done = run_code(_HOSTILE, json.dumps([name.hex() for name in names]))
    assert done.status == 0, done.err[-2000:]
    result = json.loads(done.out)
    assert result["reasons"][: len(odd_names)] == [""] * len(odd_names)
    assert result["shapes"][: len(odd_names)] == [[SIZE, SIZE, 3]] * len(odd_names)
    for name, reason in zip(names, result["reasons"], strict=True):
        assert refused.get(name, "") in reason, (name, reason)
    print(f"peak memory {result['peak_mb']} MB")
    assert result["peak_mb"] < 700


# --- Rare formats ----------------------------------------------------------------------------------------------------


def png_claiming(width: int, height: int) -> bytes:
    data = bytearray(encode(quadrants(), "PNG"))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(data)


def ico_of(image: bytes) -> bytes:
    entry = b"\x10\x10\0\0\1\0\x20\0" + len(image).to_bytes(4, "little") + (22).to_bytes(4, "little")
    return b"\0\0\1\0\1\0" + entry + image


def icns_of(image: bytes) -> bytes:
    block = b"ic07" + (len(image) + 8).to_bytes(4, "big") + image
    return b"icns" + (len(block) + 8).to_bytes(4, "big") + block


def test_an_icon_that_holds_a_huge_image_is_refused() -> None:
    jpeg_2000 = bytearray(encode(quadrants(), "JPEG2000"))
    at = jpeg_2000.index(b"\xff\x4f\xff\x51") + 8
    jpeg_2000[at : at + 8] = (12_000).to_bytes(4, "big") * 2
    for data in (
        ico_of(png_claiming(12_000, 12_000)),
        icns_of(png_claiming(12_000, 12_000)),
        icns_of(bytes(jpeg_2000)),
    ):
        assert refusal(data) == "too many pixels (12000×12000)"


@pytest.mark.parametrize("form", ["QOI", "DDS"])
def test_a_format_that_is_slow_to_decode_may_have_fewer_pixels(form: str) -> None:
    data = bytearray(encode(quadrants(), form))
    if form == "QOI":
        data[4:12] = (5000).to_bytes(4, "big") * 2
    else:
        data[12:20] = (5000).to_bytes(4, "little") * 2
    assert refusal(bytes(data)) == "too many pixels (5000×5000)"


@pytest.mark.parametrize("form", ["PSD", "TGA", "PCX", "SGI", "QOI", "ICO", "ICNS", "DDS", "XBM"])
def test_a_truncated_image_of_a_rare_format_is_refused(form: str) -> None:
    from tests.images.test_decode import psd

    image = photograph(64, 64)
    data = psd(image) if form == "PSD" else encode(image.convert("1") if form == "XBM" else image, form)
    assert refusal(data[: len(data) // 2])


def test_a_bmp_of_rle_may_have_fewer_pixels_than_one_without() -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 5000, 5000, 1, 8, 1, 4, 0, 0, 2, 0)
    assert refusal(b"BM" + struct.pack("<IHHI", 66, 0, 0, 62) + header + bytes(8) + b"\0\1\0\1") == (
        "too many pixels (5000×5000)"
    )


# --- Formats of one package more -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "module", "reason"),
    [
        (dng(quadrants(64, 64)), "rawpy", "a camera's RAW needs one more package (pip install rawpy)"),
        (JPEG_XL, "imagecodecs", "JPEG XL needs one more package (pip install imagecodecs)"),
    ],
)
def test_a_format_whose_package_is_missing_names_it(
    data: bytes, module: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # as if it were not installed
    assert refusal(data) == reason


def test_a_raw_of_more_pixels_than_fit_is_refused_and_its_preview_is_not() -> None:
    pytest.importorskip("rawpy", reason="RAW is an extra: pip install rawpy")
    for preview in (b"", encode(quadrants(64, 64), "JPEG")):
        data = (
            dng(quadrants(64, 64), preview=preview)
            .replace(
                (256).to_bytes(2, "little") + b"\4\0\1\0\0\0\x40\0\0\0",
                (256).to_bytes(2, "little") + b"\4\0\1\0\0\0\0\xf0\0\0",
            )
            .replace(
                (257).to_bytes(2, "little") + b"\4\0\1\0\0\0\x40\0\0\0",
                (257).to_bytes(2, "little") + b"\4\0\1\0\0\0\0\xf0\0\0",
            )
        )
        if preview:
            assert decode(data, 32).shape == (32, 32, 3)
        else:
            assert refusal(data) == "too many pixels (61440×61440)"


@pytest.mark.parametrize("in_container", [False, True])
def test_a_jpeg_xl_that_claims_too_many_pixels_is_refused_by_its_header(in_container: bool) -> None:
    pytest.importorskip("imagecodecs", reason="JPEG XL is an extra: pip install imagecodecs")
    side = 20_000
    bits = 3 << 1 | (side - 1) << 3 | 1 << 33  # not small; a height of 30 bits; square
    codestream = b"\xff\x0a" + bits.to_bytes(8, "little") + bytes(100)
    box = (8 + len(codestream)).to_bytes(4, "big") + b"jxlc" + codestream
    data = b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl " + box if in_container else codestream
    assert refusal(data) == f"too many pixels ({side}×{side})"


@pytest.mark.parametrize("percent", [3, 50, 95])
def test_a_truncated_raw_or_jpeg_xl_is_refused(percent: int) -> None:
    for data in (dng(quadrants(64, 64)), JPEG_XL):
        assert refusal(data[: len(data) * percent // 100])


# --- Low memory ------------------------------------------------------------------------------------------------------

LOW_MEMORY = """
import io, resource, sys
import cv2, numpy as np
from PIL import Image
from pipelines.errors import OutOfMemory
from pipelines.operators.image_decode import ImageDecode
file = io.BytesIO()
Image.new(sys.argv[1], (9000, 9000)).save(file, "PNG", compress_level=1)
operator = ImageDecode(size=224, reasons=True, workers=1)
operator([np.zeros((9, 9, 3), np.uint8)])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, -1))
try:
    print(operator([file.getvalue()]))
except OutOfMemory as error:
    print("stopped:", error)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads the size of the process from Linux's /proc")
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_low_memory_stops_the_run_and_rejects_no_image(mode: str) -> None:
    done = run_code(LOW_MEMORY, mode)
    assert (done.status, done.out.partition(":")[0]) == (0, "stopped"), done


# --- Costly beyond its pixels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "few", "many", "reason"),
    [
        (hostile_files.jpeg_of_scans, 100, 2_000, "too many scans (2,006) for 1,000,000 pixels"),
        (hostile_files.tiff_of_strips, 1, 600_000, "too many strips, tiles or other values (600,000 in tag 273)"),
        (hostile_files.tiff_of_long_tiles, 9, 60_000, "too many pixels in its tiles (62,899,200,000)"),
        (hostile_files.jpeg2000_of_layers, 50, 65_535, "too many packets"),
    ],
)
def test_what_makes_a_small_file_costly_is_limited(
    make: Callable[[int], bytes], few: int, many: int, reason: str
) -> None:
    assert reason in refusal(make(many))
    reason = ImageDecode(reasons=True)(make(few))[1]
    assert "too many" not in reason  # the file may lack what its header announces


@pytest.mark.parametrize("form", ["JPEG2000", "ICNS", "TIFF", "JPEG", "MPO"])
def test_no_decoder_with_a_known_hole_sees_an_image_of_strangers(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow reads the first two; it reads the other three only where OpenCV does not."""
    data = encode(photograph(64, 64), form, 6 if form == "TIFF" else 0)
    if form in ("JPEG", "MPO"):
        monkeypatch.setattr("pipelines.images.decode._decode_opencv", lambda *_: None)
    assert decode(data).size
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", None)
    with pytest.raises(UnreadableImage, match="that is not searched for: save it as PNG"):
        decode(data, only_safe=True)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP", "QOI"])
def test_the_usual_formats_of_strangers_are_decoded(form: str) -> None:
    data = encode(photograph(64, 64), form)
    assert np.array_equal(decode(data, only_safe=True), decode(data))


def test_the_scans_of_a_large_jpeg_are_fewer() -> None:
    data = jpeg_claiming(12_000, 10_000)
    at = data.index(b"\xff\xda")
    assert "too many scans" in refusal(data[:at] + data[at : at + 10] * 40 + data[at:])


def test_transparency_takes_memory_so_its_pixels_are_fewer() -> None:
    assert refusal(hostile_files.webp_of_alpha(16_383, 7_800)) == "too many pixels (16383×7800)"
    assert decode(hostile_files.webp_of_alpha(700, 600)).shape == (600, 700, 3)


@pytest.mark.parametrize("big", [False, True])
def test_the_directories_of_a_tiff_are_followed_to_their_end(big: bool) -> None:
    assert decode(encode(quadrants(), "TIFF", big_tiff=big, save_all=True, append_images=[quadrants()] * 3)).any()
    data = encode(quadrants(8, 8), "TIFF", big_tiff=big, save_all=True, append_images=[quadrants(8, 8)] * 1_001)
    assert refusal(data) == "too many directories (over 1,000)"
