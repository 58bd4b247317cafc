"""Image bombs: images that cost far more to decode than their file size suggests, sent as queries."""

from __future__ import annotations

import io
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from .. import hostile_files
from .outcome import Outcome
from .page import Page

_HEAD = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
_LARGEST = 24 << 20  # bytes; a larger body is refused
# An image may use nine CPU seconds. Then a new process starts, while other images of the same client wait.
_SECONDS, _MEMORY_MB = 10 + 5, 1024


def known_bombs(page: Page) -> Outcome:
    """The hostile files of `benchmarks.hostile`, one after another."""
    with tempfile.TemporaryDirectory() as name:
        cases = hostile_files.make(Path(name))
        files = [os.path.join(name, case.path) for case in cases if case.reason and "\0" not in case.path]
        datas = [Path(file).read_bytes() for file in files if os.path.isfile(file) and os.path.getsize(file) < _LARGEST]
    return _sent(page, "hostile files", datas, at_once=1)


def costly_images(page: Page) -> Outcome:
    """The largest images that the limits on headers (nearly) allow, eight at the same time."""
    return _sent(page, "costly images, 8 at once", [_large(*kind) for kind in _KINDS] * 2, at_once=8)


_KINDS: tuple[tuple[str, str, tuple[int, int], dict[str, object]], ...] = (
    ("JPEG", "L", (11_300, 11_300), {"progressive": True}), ("JPEG", "RGB", (11_300, 11_300), {"progressive": True}),
    ("PNG", "RGB", (11_300, 11_300), {}), ("PNG", "RGBA", (11_300, 11_300), {}), ("GIF", "P", (11_300, 11_300), {}),
    ("WEBP", "RGB", (11_000, 11_000), {"lossless": True}), ("WEBP", "RGBA", (6_500, 6_500), {"lossless": True}),
    ("TIFF", "RGB", (11_300, 11_300), {"compression": "tiff_lzw"}), ("BMP", "1", (11_300, 11_300), {}),
    ("JPEG2000", "RGB", (4_000, 4_000), {}), ("AVIF", "RGB", (4_000, 4_000), {"speed": 10}),
)  # fmt: skip


def _large(format_name: str, mode: str, size: tuple[int, int], options: dict[str, object]) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, format_name, **options)
    return buffer.getvalue()


def _sent(page: Page, kind: str, datas: list[bytes], at_once: int) -> Outcome:
    def send(data: bytes) -> tuple[int, float]:
        body = _HEAD + data + b"\r\n--b--\r\n"
        answer = page.ask("POST", "/api/search", body, timeout=200, Content_Type="multipart/form-data; boundary=b")
        return answer.status, answer.seconds

    before = page.memory_mb
    with ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(send, datas))
    slowest = max(seconds for _, seconds in answers)
    grown = page.memory_mb - before
    wrong = sum(status not in (200, 413, 415) for status, _ in answers)
    held = wrong == 0 and slowest < _SECONDS * at_once and grown < _MEMORY_MB
    answered = sum(status == 200 for status, _ in answers)
    return Outcome(kind, len(datas), held, f"{answered} answered, slowest {slowest:.1f} s, memory {grown:+.0f} MB")


ATTACKS = (known_bombs, costly_images)
