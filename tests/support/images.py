"""Images for tests, all made here: upright, turned, odd and hostile ones."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from benchmarks.hostile_files import jpeg_claiming as jpeg_claiming
from benchmarks.hostile_files import png_bomb as png_bomb
from benchmarks.hostile_files import webp_claiming as webp_claiming

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 200, 40), (30, 40, 220), (230, 220, 30)
QUADRANTS = ((RED, GREEN), (BLUE, YELLOW))

# By EXIF orientation: how to store an image so that the orientation turns it upright.
_STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def quadrants(width: int = 120, height: int = 80) -> Image.Image:
    """Return an image with red and green above, blue and yellow below."""
    image = np.empty((height, width, 3), np.uint8)
    for row, colours in enumerate(QUADRANTS):
        for column, colour in enumerate(colours):
            ys = slice(row * height // 2, (row + 1) * height // 2)
            image[ys, column * width // 2 : (column + 1) * width // 2] = colour
    return Image.fromarray(image)


def photograph(width: int, height: int, seed: int = 1) -> Image.Image:
    """Return an image that is hard to resample, as photographs are: smooth light, sharp edges, fine texture, grain."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x / width, y / height
    light = np.stack([x, y, 1 - (x + y) / 2], -1) * 170 + 30
    for _ in range(6):
        left, top, radius = random.uniform(0, 1), random.uniform(0, 1), random.uniform(0.05, 0.25)
        light[(x - left) ** 2 + (y - top) ** 2 < radius**2] = random.uniform(20, 235, 3)
    light += (12 * np.sin(90 * x + 40 * y * x))[..., None]
    light += random.normal(0, 4, light.shape)
    return Image.fromarray(light.clip(0, 255).astype(np.uint8))


def as_stored(image: Image.Image, orientation: int) -> Image.Image:
    """Return the image turned, so that the EXIF orientation turns it upright again."""
    return image.transpose(_STORED_AS[orientation]) if orientation in _STORED_AS else image


def encode(image: Image.Image, form: str, orientation: int = 0, **options: Any) -> bytes:
    """Return the image as a file. With an EXIF orientation it is stored turned, so that it is still shown upright."""
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif.tobytes()
        image = as_stored(image, orientation)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def grey_ramp_16bit(form: str = "PNG") -> bytes:
    """Return an image of 16 bits per pixel, black on the left, white on the right."""
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (64, 1))
    return encode(Image.fromarray(ramp), form)


def hidden_colours(colour: tuple[int, int, int], form: str, **options: Any) -> bytes:
    """Return an image whose left half is opaque and whose right half is transparent, in the same colour."""
    pixels = np.full((40, 80, 4), (*colour, 255), np.uint8)
    pixels[:, 40:, 3] = 0
    return encode(Image.fromarray(pixels, "RGBA"), form, **options)


def reference(data: bytes, size: int) -> np.ndarray:
    """Preprocess a file as CLIP does: resize the short side with PIL's bicubic filter, then crop the middle square.

    Sizes are computed as `Resize` and `CenterCrop` of torchvision do.
    """
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    width, height = image.size
    short = min(width, height)
    width, height = (size, int(size * height / short)) if width == short else (int(size * width / short), size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2.0), round((height - size) / 2.0)
    return np.array(image.crop((left, top, left + size, top + size)))


def colours_at_corners(pixels: np.ndarray) -> list[str]:
    """Return the colour names of the four quadrants, row by row; '?' for any other colour."""
    height, width = pixels.shape[:2]
    names = {RED: "red", GREEN: "green", BLUE: "blue", YELLOW: "yellow"}
    found = []
    for y in (height // 4, 3 * height // 4):
        for x in (width // 4, 3 * width // 4):
            pixel = pixels[y, x].astype(int)
            close = [name for colour, name in names.items() if np.abs(pixel - colour).max() < 25]
            found.append(close[0] if close else f"? {pixel}")
    return found


UPRIGHT = ["red", "green", "blue", "yellow"]
