"""The training data: images and texts from a CSV (`path,caption`, `path,label` or both), and the decoded pixels."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..evaluation.prompts import humanize
from ..fields import ID, PATH
from ..files import write_json
from ..models.tokenizer import tokenize
from ..operators.image_decode import ImageDecode
from ..sources.csv_text import records, refuse_first_mistake, sniff
from ..sources.source import Row, absolute_in, path_id

CAPTION, LABEL = "caption", "label"
_ID = re.compile(r"[+-]?[0-9]{1,18}")
_DECODED_AT_ONCE = 256
_TOKENIZED_AT_ONCE = 4096
_SAVE_SECONDS = 5.0
_SPARE_BYTES = 1 << 30

# Called with the number of images done, their total and the name of the activity.
OnProgress = Callable[..., object]


class Interrupted(Exception):
    """Ctrl-C was pressed; everything done so far is on disk."""


@dataclass
class Image:
    """One image with its texts; it may have several rows in the CSV. `label` is '' for none."""

    row: Row
    captions: list[str] = field(default_factory=list)
    label: str = ""


def read_images(csv: str) -> list[Image]:
    """Return the images of a CSV that have a text, in the order of their first rows.

    Raises:
        InputError: the message names the file, the row and the column.
    """
    path = Path(csv).expanduser()
    layout = sniff(path)
    if not {CAPTION, LABEL} & set(layout.columns):
        raise InputError(f"{path}, row {layout.row}: there must be a column 'caption' or 'label' beside 'path'")
    absolute = absolute_in(str(path.resolve().parent))
    images: dict[str, Image] = {}
    try:
        for line, cells in records(path, layout.encoding, layout.separator):
            if line > layout.row:
                row = dict(zip(layout.columns, cells, strict=False))
                if place := absolute(row.get(PATH, "").strip()):
                    _add_row(images, place, line, row, path)
    except UnicodeError as error:
        refuse_first_mistake(path, layout)
        raise InputError(f"{path} cannot be read: {error}") from error
    found = [image for image in images.values() if image.captions or image.label]
    if not found:
        raise InputError(f"{path}: no row has a path and a caption or label")
    return found


def _add_row(images: dict[str, Image], place: str, line: int, cells: dict[str, str], csv: Path) -> None:
    given = cells.get(ID, "").strip()
    key = int(given) if _ID.fullmatch(given) else path_id(place)
    image = images.setdefault(place, Image(Row(key, place, line, {})))
    caption, label = (" ".join(cells.get(name, "").split()) for name in (CAPTION, LABEL))
    if caption and caption not in image.captions:
        image.captions.append(caption)
    if label and image.label not in ("", label):
        raise InputError(f"{csv}, row {line}: '{label}', but row {image.row.line} calls the image '{image.label}'")
    image.label = label or image.label


@dataclass(frozen=True)
class Texts:
    """The texts of some images as tokens, and which texts belong to which image.

    Texts are numbered: first the distinct captions, ignoring case and spacing, then one text for each class.

    tokens: int32[sentences, context].
    rows: for each text the rows of `tokens` that phrase it: one for a caption, one per template for a class.
    choices: for each image the numbers of its texts.
    labels: int64[images], for each image the number of its class, -1 for none.
    """

    tokens: np.ndarray
    rows: list[list[int]]
    choices: list[list[int]]
    labels: np.ndarray


def number_texts(images: list[Image], templates: tuple[str, ...], context: int) -> Texts:
    """Number and tokenize the texts of the images; longer ones are cut at `context` tokens."""
    captions: dict[str, int] = {}
    sentences: list[str] = []
    for caption in (caption for image in images for caption in image.captions):
        if captions.setdefault(caption.lower(), len(captions)) == len(sentences):
            sentences.append(caption)
    rows = [[number] for number in range(len(sentences))]
    classes = sorted({image.label for image in images} - {""})
    for name in classes:
        rows.append(list(range(len(sentences), len(sentences) + len(templates))))
        sentences += [template.replace("{}", humanize(name)) for template in templates]
    numbers = {name: len(captions) + number for number, name in enumerate(classes)}
    tokens = np.zeros((len(sentences), context), np.int32)
    for start in range(0, len(sentences), _TOKENIZED_AT_ONCE):
        part = slice(start, start + _TOKENIZED_AT_ONCE)
        tokens[part] = tokenize(sentences[part], context)
    choices = [
        [captions[caption.lower()] for caption in image.captions] + ([numbers[image.label]] if image.label else [])
        for image in images
    ]
    labels = np.array([numbers.get(image.label, -1) for image in images], np.int64)
    return Texts(tokens, rows, [list(dict.fromkeys(texts)) for texts in choices], labels)


def decode_images(
    paths: Sequence[str], size: int, work: Path, allow_private: bool, threads: int,
    on_progress: OnProgress, is_stopped: Callable[[], bool],
) -> tuple[np.ndarray, list[str]]:  # fmt: skip
    """Decode images to a model's size into one file in `work`; continue where a killed run stopped.

    Images are decoded before training, not during it. Decoding in other threads while PyTorch trains starts a second
    thread pool, and both drop to a fraction of their speed (measured: from 400 images/s to 50 to 70).

    Returns:
        uint8[n, size, size, 3], memory-mapped, and for each image the reason why it cannot be used, '' if it can.

    Raises:
        InputError: the disk has too little free space.
        Interrupted: `is_stopped` returned True.
    """
    file, note = work / "images.u8", work / "images.json"
    shape = (len(paths), size, size, 3)
    reasons: list[str] = []
    if note.is_file() and file.is_file():
        reasons = json.loads(note.read_text(encoding="utf-8"))["reasons"]
    else:
        needed, free = int(np.prod(shape)), shutil.disk_usage(work).free
        if needed + _SPARE_BYTES > free:
            raise InputError(
                f"the decoded images take {needed / 1e9:.1f} GB in {work}, where {free / 1e9:.1f} GB are free"
            )
    pixels = np.memmap(file, np.uint8, "r+" if reasons else "w+", shape=shape)
    decode = ImageDecode("rgb", size=size, reasons=True, workers=threads, allow_private=allow_private, deadline=True)
    saved = time.monotonic()
    while len(reasons) < len(paths):
        start = len(reasons)
        images, why = decode(list(paths[start : start + _DECODED_AT_ONCE]))
        for row, image in enumerate(images, start):
            if image.size:
                pixels[row] = image
        reasons += why
        on_progress(len(reasons), len(paths), "decoding")
        stopped = is_stopped()
        if len(reasons) == len(paths) or stopped or time.monotonic() - saved > _SAVE_SECONDS:
            pixels.flush()
            write_json(note, {"reasons": reasons})
            saved = time.monotonic()
        if stopped:
            raise Interrupted
    decode.flush()
    return np.memmap(file, np.uint8, "r", shape=shape), reasons


def group_duplicates(pixels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return a group number for each of the rows, int64[n]; images with equal pixels share one."""
    numbers: dict[bytes, int] = {}
    digests = (hashlib.blake2b(pixels[row].tobytes(), digest_size=16).digest() for row in rows)
    return np.array([numbers.setdefault(digest, len(numbers)) for digest in digests], np.int64)


def split(groups: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the images to train on and of the held-out ones. A group is never split."""
    if not groups.size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    random = np.random.default_rng(seed)
    lots = random.permutation(int(groups.max()) + 1)[groups]
    order = np.argsort(lots, kind="stable")
    count = max(2, round(len(groups) * share))
    last = lots[order[min(count, len(order)) - 1]]
    held_out = lots <= last
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
