"""Make 200 hostile, broken or odd files and paths, each with the result that an indexer should give."""

from __future__ import annotations

import functools
import io
import os
import random
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, PngImagePlugin, features

COUNT = 200


class Case(NamedTuple):
    """A cell of the column `path`, and a pattern for the reason of its rejection; '' if it must be indexed."""

    path: str
    reason: str


def make(folder: Path) -> list[Case]:
    """Write the files into an empty folder, and return all cases."""
    maker = _Maker(folder)
    for group in (_odd_but_good, _odd_names, _bombs, _no_images, _headers_and_noise, _odd_paths, _addresses):
        group(maker)
    _truncated(maker)
    assert len(maker.cases) == COUNT, len(maker.cases)
    return maker.cases


class _Maker:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases: list[Case] = []

    def file(self, name: str, data: bytes, reason: str = "") -> None:
        (self.folder / name).write_bytes(data)
        self.path(name, reason)

    def path(self, path: str, reason: str) -> None:
        self.cases.append(Case(path, reason))


# --- Images --------------------------------------------------------------------------------------------------------


@functools.lru_cache
def sample_image(width: int = 160, height: int = 120, seed: int = 0) -> Image.Image:
    """Return an image of smooth random colours with some noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((pixels + rng.integers(-4, 5, pixels.shape)).clip(0, 255).astype(np.uint8))


def encoded(form: str, image: Image.Image | None = None, orientation: int = -1, **options: Any) -> bytes:
    """Return an image, by default the sample image, as the bytes of a file."""
    if orientation >= 0:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif.tobytes()
    buffer = io.BytesIO()
    (image or sample_image()).save(buffer, form, **options)
    return buffer.getvalue()


def png_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of these chunks."""
    body = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def png_bomb(edge: int) -> bytes:
    """A PNG of edge × edge pixels, one bit each, all black: 48 KB for 20,000."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + (edge + 7) // 8)) for _ in range(edge)) + packer.flush()
    header = struct.pack(">IIBBBBB", edge, edge, 1, 0, 0, 0, 0)
    return png_chunks((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))


def jpeg_claiming(width: int, height: int) -> bytes:
    """A small JPEG whose header says it is huge."""
    data = bytearray(encoded("JPEG", sample_image(64, 64)))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def webp_claiming(side: int) -> bytes:
    """A small lossless WebP whose header says it is `side` × `side` pixels, at most 16,383."""
    data = encoded("WEBP", sample_image(16, 16), lossless=True)
    at = data.index(b"VP8L") + 9  # after the chunk's size and the signature byte 0x2f
    return data[:at] + struct.pack("<I", (side - 1) | (side - 1) << 14) + data[at + 4 :]


def jpeg_of_scans(scans: int, side: int = 1000) -> bytes:
    """A progressive JPEG of side × side pixels with `scans` empty scans of 10 bytes each."""
    data = encoded("JPEG", Image.new("L", (side, side), 128), progressive=True)
    return data[:-2] + bytes.fromhex("ffda0008010100013f00") * scans + data[-2:]


def tiff_of_strips(strips: int) -> bytes:
    """A TIFF of one pixel that lists `strips` strips."""
    entries = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (278, 3, 1, 1)]
    entries += [(273, 4, strips, 200), (279, 4, strips, 200 + 4 * strips)]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)
    return head.ljust(200, b"\0") + struct.pack("<I", 8) * strips + struct.pack("<I", 1) * strips


def tiff_of_long_tiles(tiles: int) -> bytes:
    """A TIFF, one pixel high, with `tiles` tiles of 16 × 65,520 pixels. All tiles share the same 1 KB of the file."""
    tile, at = zlib.compress(bytes(16 * 65_520), 9), 200 + 8 * tiles
    entries = [(256, 4, 1, 16 * tiles), (257, 3, 1, 1), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    entries += [(322, 4, 1, 16), (323, 4, 1, 65_520), (324, 4, tiles, 200), (325, 4, tiles, 200 + 4 * tiles)]
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)
    return head.ljust(200, b"\0") + struct.pack("<I", at) * tiles + struct.pack("<I", len(tile)) * tiles + tile


def qoi_of_differences(side: int) -> bytes:
    """A QOI, which Pillow decodes in Python, pixel by pixel: 4,096 × 4,096 pixels take half a minute."""
    return b"qoif" + struct.pack(">IIBB", side, side, 3, 0) + b"\x80\x88" * side**2 + bytes(7) + b"\1"


def jpeg2000_of_layers(layers: int) -> bytes:
    """A JPEG 2000 whose header says that it has `layers` layers, at most 65,535."""
    data = bytearray(encoded("JPEG2000", sample_image(64, 64), num_resolutions=6))
    at = data.index(b"\xff\x52") + 6
    data[at : at + 2] = struct.pack(">H", layers)
    return bytes(data)


def webp_of_alpha(width: int, height: int) -> bytes:
    """A small lossless WebP with transparency whose header says that it is large."""
    data = bytearray(encoded("WEBP", Image.new("RGBA", (16, 16), (1, 2, 3, 128)), lossless=True))
    at = data.index(b"VP8L") + 9
    data[at : at + 4] = struct.pack("<I", (width - 1) | (height - 1) << 14 | 1 << 28)
    return bytes(data)


# --- To be indexed ---------------------------------------------------------------------------------------------------


def _odd_but_good(maker: _Maker) -> None:
    for form in ("JPEG", "PNG", "WEBP"):
        for orientation in range(10):  # 0 and 9 do not exist
            maker.file(f"exif {orientation}.{form.lower()}", encoded(form, orientation=orientation))
    for orientation in range(2, 9):
        maker.file(f"exif {orientation}.tif", encoded("TIFF", orientation=orientation))
    grey, palette = sample_image().convert("L"), sample_image().quantize(16)
    modes = {"1": sample_image().convert("1"), "L": grey, "LA": grey.convert("LA"), "P": palette}
    modes |= {"RGBA": sample_image().convert("RGBA"), "16": Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)}
    for name, image in modes.items():
        maker.file(f"mode {name}.png", encoded("PNG", image))
    maker.file("transparent palette.png", encoded("PNG", palette, transparency=3))
    maker.file("transparent colour.png", encoded("PNG", transparency=(1, 2, 3)))
    maker.file("cmyk.jpg", encoded("JPEG", sample_image().convert("CMYK")))
    maker.file("cmyk.tif", encoded("TIFF", sample_image().convert("CMYK")))
    maker.file("progressive.jpg", encoded("JPEG", progressive=True))
    maker.file("rgba.tif", encoded("TIFF", sample_image().convert("RGBA")))
    black = Image.new("RGB", sample_image().size)
    for form in ("GIF", "WEBP", "PNG", "TIFF"):
        maker.file(f"several.{form.lower()}", encoded(form, save_all=True, append_images=[black, black]))
    for form in ("BMP", "PPM", "JPEG2000" if features.check("jpg_2000") else "BMP"):
        maker.file(f"form.{form.lower()}x", encoded(form))
    for width, height in ((1, 1), (3, 3), (1, 10_000), (10_000, 1), (2, 5000)):
        maker.file(f"size {width}x{height}.png", encoded("PNG", Image.new("RGB", (width, height), (9, 90, 200))))
    maker.file("12 megapixels.jpg", encoded("JPEG", sample_image(4000, 3000)))
    maker.file("icon.ico", encoded("ICO", sample_image(64, 64)))
    maker.file("zeros after the end.jpg", encoded("JPEG") + bytes(1000))
    maker.file("damaged exif.jpg", encoded("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0garbage"))
    maker.file("long comment.jpg", encoded("JPEG", comment=b"c" * 60_000))


def _odd_names(maker: _Maker) -> None:
    data = encoded("JPEG")
    for name in (
        "png inside.jpg", "no extension", "Füße 猫 🐈.jpg", "new\nline.jpg", 'quote " and, comma.jpg', "n" * 245,
        " leading space.jpg", "trailing space .jpg ", "50%20off%.jpg", "a;b\tc.jpg", "-rf.jpg", "\u202egpj.exe.jpg",
        "back\\slash.jpg", "#hash?query=1.jpg", "NULL",
    ):  # fmt: skip
        maker.file(name, encoded("PNG") if name == "png inside.jpg" else data)
    os.symlink("no extension", maker.folder / "link.jpg")
    maker.path("link.jpg", "")
    maker.path(f"{maker.folder.as_uri()}/no%20extension?", "")  # the same file a second time, by file://


# --- To be rejected --------------------------------------------------------------------------------------------------


def _bombs(maker: _Maker) -> None:
    maker.file("bomb.png", png_bomb(20_000), "too many pixels")
    maker.file("bomb 25000.png", png_bomb(25_000), "too many pixels")
    maker.file("bomb.jpg", jpeg_claiming(30_000, 30_000), "too many pixels")
    maker.file("bomb 65500.jpg", jpeg_claiming(65_500, 65_500), "too many pixels")
    maker.file("bomb.webp", webp_claiming(16_383), "too many pixels")
    gif = bytearray(encoded("GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    maker.file("bomb.gif", bytes(gif), "too many pixels")
    bmp = bytearray(encoded("BMP"))
    bmp[18:26] = struct.pack("<ii", 30_000, 30_000)
    maker.file("bomb.bmp", bytes(bmp), "too many pixels")
    maker.file("bomb.ppm", b"P6 50000 50000 255\n" + bytes(100), "too many pixels")
    cut = jpeg_claiming(15_900, 15_900)[:-20]
    maker.file("claims and ends.jpg", cut, "damaged")
    header = struct.pack(">IIBBBBB", 20, 20, 8, 2, 0, 0, 0)
    maker.file("chunk of 4 GB.png", png_chunks((b"IHDR", header)) + b"\xff\xff\xff\xf0IDAT" + bytes(200), "damaged")
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "0" * 80_000_000, zip=True)
    maker.file("compressed comment.png", encoded("PNG", pnginfo=text), "damaged")
    maker.file("scans.jpg", jpeg_of_scans(20_000), "too many scans")
    maker.file("strips.tif", tiff_of_strips(1_000_000), "too many strips")
    maker.file("long tiles.tif", tiff_of_long_tiles(60_000), "too many pixels in its tiles")
    maker.file("layers.jp2", jpeg2000_of_layers(65_535), "too many packets")
    maker.file("transparency.webp", webp_of_alpha(16_383, 7_800), "too many pixels")
    with open(maker.folder / "65 MiB.jpg", "wb") as file:
        file.truncate(65 << 20)
    maker.path("65 MiB.jpg", "larger than 64 MiB")


def _no_images(maker: _Maker) -> None:
    kinds: dict[str, tuple[bytes, str]] = {
        "empty": (b"", "the file is empty"),
        "one byte": (b"\xff", "not an image"),
        "start of a JPEG": (b"\xff\xd8", "damaged"),
        "start and one byte": (b"\xff\xd8\xff", "damaged"),
        "page": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "HTML"),
        "drawing": (b'\xef\xbb\xbf<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        "document": (b"%PDF-1.7\n1 0 obj", "PDF"),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "PostScript"),
        "table": (b"id,path\n1,a.jpg\n", "not an image"),
        "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS"),
        "archive": (b"PK\x03\x04" + bytes(100), "ZIP"),
        "gzip": (b"\x1f\x8b\x08" + bytes(100), "gzip"),
        "video": (b"\0\0\0\x18ftypisom" + bytes(100), "video"),
        "webm": (b"\x1a\x45\xdf\xa3" + bytes(100), "video"),
        "avi": (b"RIFF\0\0\1\0AVI LIST" + bytes(100), "video"),
        "photoshop": (b"8BPS\0\1" + bytes(100), "Photoshop"),
        "raw canon": (b"\0\0\0\x18ftypcrx " + bytes(100), "RAW"),
        "raw fuji": (b"FUJIFILMCCD-RAW 0201" + bytes(100), "RAW"),
        "jpeg xl": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100), "JPEG XL"),
        "exr": (b"\x76\x2f\x31\x01" + bytes(100), "OpenEXR"),
        "hdr": (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n" + bytes(4), "HDR"),
        "floats": (b"PF\n1 1\n-1.0\n" + bytes(12), "floating-point"),
        "float tiff": (encoded("TIFF", Image.new("F", (9, 9), 0.5)), "floating-point"),
        "heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100), "HEIC"),
        "avif": (b"\0\0\0\x20ftypavif" + bytes(20), "AVIF"),
        "zeros": (bytes(5000), "not an image"),
        "junk before.jpg": (b"xx" + encoded("JPEG"), "not an image"),
    }
    for name, (data, reason) in kinds.items():
        maker.file(f"no image {name}.jpg", data, reason)
    noise = random.Random(0)
    for size in (10, 100, 1000, 10_000, 100_000):
        maker.file(f"noise {size}.jpg", b"\x01" + noise.randbytes(size), "not an image")


def _headers_and_noise(maker: _Maker) -> None:
    noise = random.Random(1).randbytes(4000)
    for form, keep in (("JPEG", 200), ("PNG", 33), ("WEBP", 30), ("GIF", 13), ("TIFF", 8), ("BMP", 14)):
        reason = "too many values" if form == "TIFF" else "damaged"  # the noise reads as directories with huge counts
        maker.file(f"noise after header.{form.lower()}", encoded(form)[:keep] + noise, reason)
    data = bytearray(encoded("PNG"))
    data[len(data) // 2] ^= 255
    maker.file("wrong byte.png", bytes(data), "damaged")
    maker.file("no end.jpg", encoded("JPEG")[:-2], "truncated")


def _odd_paths(maker: _Maker) -> None:
    folder = maker.folder
    (folder / "folder.jpg").mkdir()
    maker.path("folder.jpg", "a folder, not a file")
    os.mkfifo(folder / "fifo.jpg")
    maker.path("fifo.jpg", "not a regular file")
    for device in ("/dev/zero", "/dev/null", "/dev/random"):
        maker.path(device, "not a regular file")
    (folder / "broken.jpg").symlink_to("nothing")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    maker.path("broken.jpg", "no such file")
    maker.path("loop.jpg", "symbolic links")
    maker.path("n" * 300 + ".jpg", "name too long")
    maker.path("d/" * 2500 + "a.jpg", "name too long")
    maker.path("", "the path is empty")
    maker.path("missing.jpg", "no such file")
    maker.path("missing/../../missing.jpg", "no such file")
    maker.path("no extension/a.jpg", "Not a directory")
    maker.path("file:///missing%20file.jpg", "no such file")
    maker.path("C:\\Users\\me\\a.jpg", "no such file")


def _addresses(maker: _Maker) -> None:
    maker.path("http://localhost/a.jpg", "private address")
    maker.path("http://169.254.169.254/latest/meta-data/", "private address")
    maker.path("https://[::1]/a.jpg", "private address")
    maker.path("https://no-such-host.invalid/a.jpg", "there is no host")
    maker.path("http://", "not an address")
    maker.path("ftp://localhost/a.jpg", "not supported")
    maker.path("memory://nothing/a.jpg", "no such object")


def _truncated(maker: _Maker) -> None:
    """Cut images at many lengths, until there are COUNT cases."""
    for form, percent in _cuts():
        if len(maker.cases) == COUNT:
            return
        data = encoded("JPEG", progressive=True) if form == "progressive" else encoded(form)
        maker.file(f"cut at {percent} percent.{form.lower()}", data[: len(data) * percent // 100], "")
        maker.cases[-1] = maker.cases[-1]._replace(reason="damaged|truncated")


def _cuts() -> Iterator[tuple[str, int]]:
    for percent in (2, 50, 99, 10, 75, 90, 25, 60, 40, 95, 30, 80, 20, 98):
        for form in ("JPEG", "progressive", "PNG", "WEBP", "GIF", "TIFF"):
            yield form, percent
