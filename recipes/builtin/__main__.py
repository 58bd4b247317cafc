"""Train the `builtin` model: python -m recipes.builtin --photos DIR --work DIR --out FILE.

Each stage writes its result to the work folder, and a later run continues from it. On two cores that are shared with
other work, two single-threaded processes train faster than one process with two threads. To make use of this, start a
second process with `--beside` during the image stage, as soon as `map.pt` is in the work folder; it trains the text
tower. `--start FILE` takes both towers from a weights file instead of training them, and continues with the stage
joint. A first run at a lower `--resolution` is faster; `--start` then interpolates the position embeddings.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.models.registry import BUILTIN
from pipelines.training.model import interpolate, random_network

from . import data, distil, evaluate, export, image_tower, joint, loop, projection_head, teacher, text_tower
from .sampler import Sampler

STAGES = ("prepare", "image", "text", "joint", "distil", "export", "evaluate")


@dataclass
class Run:
    """What the stages pass on to each other."""

    options: argparse.Namespace
    photos: data.Photos
    student: image_tower.ImageStudent | None
    clip: Any
    head: projection_head.ProjectionHead | None = None


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m recipes.builtin", description=__doc__)
    add = parser.add_argument
    add("--photos", type=Path, required=True, help="folder of .parquet files: set, label, captions, image")
    add("--work", type=Path, required=True, help="folder for the results of the stages; needs about 4 GB")
    add("--out", type=Path, help="the weights file to write")
    add("--start", type=Path, help="a weights file: takes the place of the stages image and text")
    add(
        "--held-out-names",
        type=Path,
        help="CSV whose labels the image teacher must not name, because the evaluation asks for them",
    )
    add("--stage", choices=STAGES, default="export", help="stop after this; evaluate needs --evaluation")
    add("--beside", action="store_true", help="only train the text tower, beside a running image stage")
    add("--evaluation", type=Path, help="folder with reverse_image_search/ and flickr8k_test/")
    add("--image-minutes", type=float, default=50)
    add("--text-minutes", type=float, default=20)
    add("--joint-minutes", type=float, default=10, help="0 leaves this stage out")
    add("--distil-minutes", type=float, default=80, help="0 leaves this stage out")
    add("--distil-rate", type=float, default=1e-3, help="its learning rate; lower it if only the resolution is new")
    add("--distil-share", type=float, default=1.0, help="share of distilled weights mixed with those before (WiSE-FT)")
    add("--closer-looks", type=int, default=4, help="parts of each image that the image teacher sees")
    add("--phrases", type=int, default=160_000, help="phrases of words for the text tower")
    add("--vocabulary", type=int, default=0, help="use only the first N tokens, for trials; 0 uses all")
    add("--max-steps", type=int, default=0, help="end every stage after N steps, for trials")
    add("--batch", type=int, default=256)
    add("--resolution", type=int, default=BUILTIN.architecture.image_resolution, help="of the image tower, in pixels")
    add("--seed", type=int, default=20261120)
    add("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args(arguments)
    writes = not options.beside and STAGES.index(options.stage) >= STAGES.index("export")
    if writes and options.out is None:
        parser.error("--out is missing: where the weights file goes")
    if options.evaluation is None and options.stage == "evaluate":
        parser.error("--evaluation is missing: the folder with the held-out images")
    return options


def build(options: argparse.Namespace) -> Any:
    """Return the network with random weights."""
    return random_network(options.seed, replace(BUILTIN.architecture, image_resolution=options.resolution))


def settings(options: argparse.Namespace, minutes: float, rate: float, batch: int) -> loop.StageSettings:
    """Return the settings of a stage, with the options that apply to all stages."""
    return loop.StageSettings(minutes=minutes, learning_rate=rate, batch=batch, max_steps=options.max_steps)


def train_image(options: argparse.Namespace, photos: data.Photos) -> image_tower.ImageStudent:
    """Run stage 1: train the image tower."""
    bank = image_tower.embed_texts(photos, options.work)
    wanted = settings(options, options.image_minutes, 1.2e-3, options.batch)
    return image_tower.train(build(options), photos, bank, wanted, options.work, options.seed)


def train_text(run: Run) -> None:
    """Run stage 2: train the text side of `run.clip`; take the image side from stage 1."""
    options = run.options
    context = run.clip.context_length
    corpus = text_tower.build_corpus(
        run.photos, options.phrases, options.vocabulary, context, options.work, options.seed
    )
    wanted = settings(options, options.text_minutes, 1e-3, 2 * options.batch)
    mapping = image_tower.load_map(options.work / "map.pt")
    run.clip = text_tower.train(run.clip, mapping, corpus, wanted, options.work, options.seed)
    if run.student is not None:
        run.clip.visual.load_state_dict(run.student.visual.state_dict())
        run.clip.logit_scale.data.copy_(run.student.logit_scale.data)


def train_with_image_teacher(run: Run, last: int) -> None:
    """Run stages 3 and 4: train the text side of `run.clip` with the projection head, then the image side."""
    options, clip = run.options, run.clip
    rows, held_out = run.photos.split(image_tower.VALIDATION_SHARE, options.seed)
    names = data.labels_of(options.held_out_names) if options.held_out_names else set()
    targets = projection_head.build_targets(clip, run.photos, names, options.work, options.closer_looks, options.seed)
    drawn = Sampler(run.photos, rows, 4 * options.batch, options.seed + 1)
    run.head = projection_head.train_or_load(targets, drawn, options.work, options.max_steps or projection_head.STEPS)
    if options.joint_minutes > 0:
        prepare = partial(joint.build_data, clip, run.photos, targets, drawn, options.phrases)
        wanted = replace(settings(options, options.joint_minutes, 4e-4, drawn.batch), warmup_steps=50)
        pair = joint.train(joint.Pair(clip, run.head), run.photos, prepare, held_out, wanted, options.work)
        run.head, targets = pair.head, projection_head.update_texts(targets, clip, run.photos, options.work)
    if last >= STAGES.index("distil") and options.distil_minutes > 0:
        evenly = replace(run.photos, weights=run.photos.weights * np.sqrt(targets.rarity))
        shown = Sampler(evenly, rows, options.batch, options.seed + 2)
        stage_data = distil.StageData(shown, targets, run.head)
        wanted = settings(options, options.distil_minutes, options.distil_rate, options.batch)
        before = {name: weights.clone() for name, weights in clip.state_dict().items()}
        run.clip = distil.train(clip, run.photos, stage_data, held_out, wanted, options.work)
        run.clip.load_state_dict(interpolate(before, run.clip.state_dict(), options.distil_share))


def write(run: Run) -> None:
    """Write the weights file."""
    options = run.options
    made = {
        "model": "builtin",
        "version": "1",
        "date": datetime.date.today().isoformat(),
        "seed": str(options.seed),
        "torch": torch.__version__,
        "embed_dim": str(run.clip.text_projection.shape[1]),
        "image_resolution": str(run.clip.visual.input_resolution),
        "int8": "NAME times NAME.scale, one scale an output row",
    }
    size = export.save(run.clip.state_dict(), options.out, made)
    print(f"wrote {options.out.name}: {size:,} bytes", flush=True)


def measure(run: Run) -> None:
    """Print the figures of the last stage's result and of the weights file."""
    options = run.options
    held_out = evaluate.HeldOut(options.evaluation, run.clip.visual.input_resolution)
    if run.student is not None:
        words_teacher, student = teacher.Teacher(), run.student.eval()
        held_out.report(
            "image tower with the teacher's map",
            lambda pixels: torch.cat([student.images(part) for part in torch.split(pixels, 256)]),
            lambda sentences: student.texts(torch.from_numpy(words_teacher.encode(sentences))),
        )
    images, words = evaluate.clip_encoders(run.clip)
    taught = None
    if run.head is not None:
        encoder = projection_head.as_encoder(run.head, run.photos, options.work)
        taught = held_out.report("image teacher and projection head", encoder, words)
    seen = held_out.report("after the last stage", images, words)
    if taught is not None:
        evaluate.report_nearness(taught, seen)
    clip = build(options).eval()
    clip.load_state_dict(export.read(options.out), strict=False)
    held_out.report("the weights file", *evaluate.clip_encoders(clip))


def train_towers(options: argparse.Namespace, photos: data.Photos, last: int) -> Run | None:
    """Return both towers, from the first two stages or a weights file; None if an earlier stage is the last."""
    if options.start is not None:
        clip = build(options)
        clip.load_state_dict(export.at_resolution(export.read(options.start), options.resolution), strict=False)
        return Run(options, photos, None, clip.eval())
    student = train_image(options, photos)
    if last < STAGES.index("text"):
        return None
    run = Run(options, photos, student, build(options))
    train_text(run)
    return run


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stages in order, up to --stage."""
    options = parse(arguments)
    last = STAGES.index(options.stage)
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    data.prepare(options.photos, options.work)
    if last < STAGES.index("image"):
        return
    photos = data.load(options.work)
    if options.beside:
        train_text(Run(options, photos, None, build(options)))
        return
    run = train_towers(options, photos, last)
    if run is None:
        return
    if last >= STAGES.index("joint") and max(options.joint_minutes, options.distil_minutes) > 0:
        train_with_image_teacher(run, last)
    if last >= STAGES.index("export"):
        write(run)
    if last >= STAGES.index("evaluate"):
        measure(run)


if __name__ == "__main__":
    main()
