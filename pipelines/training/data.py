"""The data of a run: the images to train on, with their texts, and the held-out images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError, counted
from ..indexing.reject_file import RejectFile
from ..models.spec import ModelSpec
from .data_loader import DataLoader
from .dataset import Image, decode_images, group_duplicates, number_texts, split
from .held_out import HeldOut
from .hooks import Hooks
from .options import TrainOptions


@dataclass(frozen=True)
class Data:
    """The images to train on, the held-out images, and the number of images that cannot be used."""

    loader: DataLoader
    held_out: HeldOut
    trained: int
    rejected: int
    rejects_file: str


def prepare(
    options: TrainOptions, spec: ModelSpec, images: list[Image], validation: list[Image],
    templates: tuple[str, ...], work: Path, reject_file: RejectFile, hooks: Hooks,
) -> Data:  # fmt: skip
    """Decode the images, drop those that cannot be used, and split the rest into training and held-out images.

    Raises:
        InputError: there are too few different images, or nothing to measure.
        Interrupted: Ctrl-C was pressed.
    """
    everything = images + validation
    pixels, reasons = decode_images(
        [image.row.path for image in everything], spec.image_size, work, options.allow_private_urls,
        options.threads, hooks.on_progress, hooks.is_stopped,
    )  # fmt: skip
    reject_file.look_at(image.row for image in everything)
    for image, reason in zip(everything, reasons, strict=True):
        if reason:
            reject_file.add(image.row, reason)
    reject_file.finish(is_whole=True)
    usable = np.array([number for number, reason in enumerate(reasons) if not reason], np.int64)
    groups = group_duplicates(pixels, usable)
    if validation:
        is_training = usable < len(images)
        held_out = usable[~is_training]
        rows = usable[is_training & ~np.isin(groups, groups[~is_training])]
    else:
        rows, held_out = (usable[part] for part in split(groups, options.holdout, options.seed))
    rejected = len(everything) - len(usable)
    if len(rows) < 2 or len(np.unique(groups[np.isin(usable, held_out)])) < 2:
        raise InputError(
            f"{counted(len(rows), 'image')} to train on and {len(held_out)} to measure on, {rejected} unreadable: "
            "there must be two different ones of each at least"
        )
    context = spec.architecture.context_length
    texts = number_texts(everything, templates, context)
    loader = DataLoader(pixels, rows, texts, options.effective_batch, options.seed)
    measured = HeldOut([everything[row] for row in held_out], pixels, held_out, templates, context)
    if not measured.is_measurable:
        raise InputError(
            f"the {len(held_out)} images to measure on are of one class and have no captions that differ, so nothing "
            "can be measured: add images of other classes, or captions"
        )
    return Data(loader, measured, len(rows), rejected, reject_file.written_to)
