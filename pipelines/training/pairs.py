"""Images and their texts out of a CSV: `path,caption`, `path,label`, or both; several rows an image are fine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..evaluation.prompts import humanize
from ..fields import ID, PATH
from ..sources.csv_text import records, refuse_first_mistake, sniff
from ..sources.source import Row, absolute_in, path_id

CAPTION, LABEL = "caption", "label"


@dataclass
class Image:
    """One image, whatever the number of its rows. `label` is '' for none."""

    row: Row
    captions: list[str] = field(default_factory=list)
    label: str = ""


def read_images(csv: str) -> list[Image]:
    """The images of a CSV that have a text, in the order in which they first come.

    Raises:
        InputError: naming the file, the row and the column.
    """
    path = Path(csv).expanduser()
    layout = sniff(path)
    if not {CAPTION, LABEL} & set(layout.columns):
        raise InputError(f"{path}, row {layout.row}: there must be a column 'caption' or 'label' beside 'path'")
    absolute = absolute_in(str(path.resolve().parent))
    found: dict[str, Image] = {}
    try:
        for line, cells in records(path, layout.encoding, layout.separator):
            if line > layout.row:
                _take(found, absolute, line, dict(zip(layout.columns, cells, strict=False)), path)
    except UnicodeError as error:
        refuse_first_mistake(path, layout)
        raise InputError(f"{path} cannot be read: {error}") from error
    images = [image for image in found.values() if image.captions or image.label]
    if not images:
        raise InputError(f"{path}: no row has a path and a caption or label")
    return images


def _take(found: dict[str, Image], absolute: Callable[[str], str], line: int, cells: dict[str, str], csv: Path) -> None:
    place = absolute(cells.get(PATH, "").strip())
    if not place:
        return
    given = cells.get(ID, "").strip()
    key = int(given) if given.lstrip("+-").isdigit() else path_id(place)
    image = found.setdefault(place, Image(Row(key, place, line, {})))
    caption, label = (" ".join(cells.get(name, "").split()) for name in (CAPTION, LABEL))
    if caption and caption not in image.captions:
        image.captions.append(caption)
    if label and image.label not in ("", label):
        raise InputError(f"{csv}, row {line}: '{label}', but row {image.row.line} calls the image '{image.label}'")
    image.label = label or image.label


@dataclass(frozen=True)
class Texts:
    """All texts of some images as tokens, and which of them belong to which image.

    Texts are numbered: first the different captions (letter case and spaces make no difference), then one number a
    class. `choices[p]` are the numbers of image p's texts, `labels[p]` the number of its class or -1.
    `tokens[rows[t][j]]`: number t as tokens, a caption in one way, a class in one for each template.
    """

    tokens: np.ndarray
    rows: list[list[int]]
    choices: list[list[int]]
    labels: np.ndarray


def number_texts(images: list[Image], templates: tuple[str, ...], context: int) -> Texts:
    """Numbers and tokenises the texts."""
    from ..models.tokenizer import tokenize

    captions: dict[str, int] = {}
    sentences: list[str] = []
    for image in images:
        for caption in image.captions:
            if captions.setdefault(caption.lower(), len(captions)) == len(sentences):
                sentences.append(caption)
    rows = [[number] for number in range(len(sentences))]
    classes = sorted({image.label for image in images} - {""})
    for name in classes:
        rows.append(list(range(len(sentences), len(sentences) + len(templates))))
        sentences += [template.replace("{}", humanize(name)) for template in templates]
    numbers = {name: len(captions) + number for number, name in enumerate(classes)}
    tokens = np.zeros((len(sentences), context), np.int32)
    for start in range(0, len(sentences), 4096):
        tokens[start : start + 4096] = tokenize(sentences[start : start + 4096], context)
    choices = [
        [captions[caption.lower()] for caption in image.captions] + ([numbers[image.label]] if image.label else [])
        for image in images
    ]
    labels = np.array([numbers.get(image.label, -1) for image in images], np.int64)
    return Texts(tokens, rows, [list(dict.fromkeys(texts)) for texts in choices], labels)


def split(groups: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the images to train on and of those held out; equal images (one group) stay on one side."""
    random = np.random.default_rng(seed)
    lots = random.permutation(int(groups.max()) + 1)[groups]
    order = np.argsort(lots, kind="stable")
    wanted = max(2, round(len(groups) * share))
    last = lots[order[min(wanted, len(order)) - 1]]
    held_out = lots <= last
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
