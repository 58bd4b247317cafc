"""The code of a process that decodes images for `convert.Converter`, and the messages in the pipes between them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import struct
import sys
from typing import IO, NamedTuple

import numpy as np

from ..errors import TooLarge, UnreadableImage
from .decode import decode
from .fit import Fit
from .formats import limit_opencv

LARGEST = (4096, 4096)
_LARGE = 2**25  # pixels
_QUALITY = 72
_HEAD = struct.Struct("<QQ")  # sizes of two parts in bytes


class Encoded(NamedTuple):
    """An image as it is sent."""

    data: bytes
    media_type: str


def encode(pixels: np.ndarray, format_name: str, box: tuple[int, int] = LARGEST) -> Encoded:
    """Encode uint8[height, width, 3] RGB as PNG, JPEG, WEBP or PPM, shrunk to fit into a box."""
    from PIL import Image

    height, width = pixels.shape[:2]
    shrink = min(height // box[1], width // box[0])
    if shrink > 1 and height * width > _LARGE:  # Pillow's copy takes 4 bytes per pixel
        import cv2

        pixels = cv2.resize(pixels, (width // shrink, height // shrink), interpolation=cv2.INTER_AREA)
    image = Image.fromarray(pixels)
    image.thumbnail(box)
    buffer = io.BytesIO()
    image.save(buffer, format_name, quality=_QUALITY, method=2)  # WebP: half the time of method 4, and 7 % more bytes
    return Encoded(buffer.getvalue(), f"image/{format_name.lower()}")


def work(memory: int) -> None:
    """Convert images from the standard input until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the main program, which first stores its current work
    with contextlib.suppress(AttributeError, OSError):  # Windows has no nice
        os.nice(5)  # searches by text take precedence
    limit_opencv(1)
    _limit_memory(memory)
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # anything that a library prints
    write_parts(target, b"", b"")
    while (message := read_parts(source)) is not None:
        options, data = json.loads(message[0]), message[1]
        reason, encoded = "", b""
        try:
            _end_after(options["seconds"])
            pixels = decode(data, options["fit"] and Fit(*options["fit"]), **options["how"])
            encoded = encode(pixels, options["format_name"], tuple(options["box"])).data
        except UnreadableImage as error:
            reason = f"{type(error).__name__} {error}"
        except MemoryError:
            reason = f"{TooLarge.__name__} it takes more than {memory >> 20} MB of memory to decode"
        except Exception as error:  # any error of a decoder fails only this image
            reason = f"{UnreadableImage.__name__} cannot be decoded: {type(error).__name__}"
        _end_after(0)
        write_parts(target, reason.encode(errors="replace"), encoded)


def _end_after(seconds: float) -> None:
    """Let the system end this process after this much CPU time, whatever library it runs; 0 cancels that."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def _limit_memory(memory: int) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    with contextlib.suppress(ValueError, OSError):  # macOS refuses it
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def write_parts(target: IO[bytes], first: bytes, second: bytes) -> None:
    target.write(_HEAD.pack(len(first), len(second)))
    target.write(first)
    target.write(second)
    target.flush()


def read_parts(source: IO[bytes]) -> tuple[bytes, bytes] | None:
    """Two parts; None at the end of the input."""
    head = source.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    first, second = _HEAD.unpack(head)
    parts = source.read(first), source.read(second)
    return parts if len(parts[0]) == first and len(parts[1]) == second else None
