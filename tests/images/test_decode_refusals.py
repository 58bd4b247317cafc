"""Damaged, hostile and mistaken files: each is refused in words, and none kills, hangs or fills the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.fetch.read import MAX_BYTES
from pipelines.operators.image_decode import ImageDecode
from tests.support.images import encode, jpeg_claiming, photograph, png_bomb, quadrants

SIZE = 224


def reason_for(source: str | bytes) -> str:
    """Why the operator leaves an image out; it never raises."""
    image, reason = ImageDecode(size=SIZE, reasons=True)(source)
    assert image.shape == (0, 0, 3)
    assert reason
    assert "\n" not in reason
    return reason


def test_floating_point_pixels_are_refused_by_name() -> None:
    assert "floating-point" in reason_for(encode(Image.new("F", (9, 9), 0.5), "TIFF"))


# --- Damaged and not images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("percent", [2, 50, 99])
def test_a_truncated_image_is_refused_with_a_reason(form: str, percent: int) -> None:
    data = encode(photograph(400, 300), form)
    reason = reason_for(data[: len(data) * percent // 100])
    assert any(word in reason for word in ("damaged", "truncated"))


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
def test_what_is_no_image_is_refused_in_words(data: bytes, word: str | tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    for reason in (reason_for(str(tmp_path / "a.jpg")), reason_for(data)):
        assert any(part in reason for part in ([word] if isinstance(word, str) else word)), reason


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "a.jpg", "wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert reason_for(str(tmp_path / "a.jpg")) == "larger than 64 MiB"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission_is_the_reason(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(quadrants(), "JPEG"))
    (tmp_path / "a.jpg").chmod(0)
    assert reason_for(str(tmp_path / "a.jpg")) == "no permission to read it"


# In a process of its own: a mistake here is a crash, a hang or a full memory, and must not be this process's.
_HOSTILE = """
import json, os, re, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (50, 55))
from pipelines.operators.image_decode import ImageDecode
names = [os.fsdecode(bytes.fromhex(name)) for name in json.load(sys.stdin)]
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
    done = subprocess.run(
        [sys.executable, "-c", _HOSTILE], input=json.dumps([name.hex() for name in names]), capture_output=True,
        text=True, timeout=60, check=False, env={**os.environ, "PYTHONPATH": os.fspath(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["reasons"][: len(odd_names)] == [""] * len(odd_names)
    assert result["shapes"][: len(odd_names)] == [[SIZE, SIZE, 3]] * len(odd_names)
    for name, reason in zip(names, result["reasons"], strict=True):
        assert refused.get(name, "") in reason, (name, reason)
    print(f"peak memory {result['peak_mb']} MB")
    assert result["peak_mb"] < 700
