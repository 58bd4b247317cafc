"""Towers learn from the image teacher, and stages resume from their checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from recipes.builtin import data, distil, image_tower, joint, loop, projection_head, vision_teacher
from recipes.builtin.sampler import Sampler
from tests.support.recipe import SEED, build, short_stage, show

pytestmark = pytest.mark.usefixtures("one_thread")


def test_an_image_is_rare_where_the_teacher_takes_few_for_the_same() -> None:
    logits = torch.zeros(4, vision_teacher.CLASSES)
    logits[torch.arange(4), torch.tensor([7, 3, 7, 7])] = 1
    seen = vision_teacher.Seen(torch.zeros(4, 1), logits)
    assert np.allclose(seen.rarity(), [1 / 3, 1, 1 / 3, 1 / 3])


def test_stage_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    module = torch.nn.Linear(4, 1)
    settings = loop.StageSettings(minutes=5, learning_rate=0.1, max_steps=6, checkpoint_minutes=1e-9)
    inputs = torch.ones(2, 4)
    stage = loop.Stage("try", module, settings, tmp_path)
    stage.run(lambda: (module(inputs) - 3).square().mean(), lambda average: "")
    resumed = loop.Stage("try", torch.nn.Linear(4, 1), settings, tmp_path)
    assert resumed.steps == 6
    assert resumed.finished()
    assert torch.equal(resumed.module.weight, module.weight)


@pytest.mark.slow
def test_a_classifier_teaches_the_image_tower(photos: data.Photos, tmp_path: Path) -> None:
    """It starts with random weights."""
    clip = build(SEED).eval()
    targets = show(photos, clip, tmp_path)
    training, held_out = photos.split(0.3, SEED)
    sampler = Sampler(photos, training, 32, SEED)
    stage_data = distil.StageData(sampler, targets, projection_head.train_or_load(targets, sampler, tmp_path, steps=60))
    assert "great white shark" in vision_teacher.class_names()
    assert "great white shark" not in targets.names
    assert targets.classes.shape[1] == targets.probabilities.shape[1] == len(targets.names) == 999
    before = images_and_projections(clip, photos, held_out, stage_data)
    settings = short_stage()
    words = clip.text_projection.clone()
    trained = distil.train(clip, photos, stage_data, held_out, settings, tmp_path)
    assert torch.equal(trained.text_projection, words), "the texts' side is left alone"
    assert images_and_projections(trained, photos, held_out, stage_data) > before + 0.3
    again = distil.train(build(SEED), photos, stage_data, held_out, settings, tmp_path)
    assert torch.equal(again.visual.conv1.weight, trained.visual.conv1.weight)
    assert torch.equal(again.logit_scale, trained.logit_scale)


def images_and_projections(clip: object, photos: data.Photos, rows: np.ndarray, stage_data: distil.StageData) -> float:
    """Return the mean cosine between images and the projection head's output for the teacher's features."""
    visual = clip.visual.eval()  # type: ignore[attr-defined]
    images = image_tower.embed_with(lambda pixels: normalize(visual(pixels), dim=-1), visual, photos, rows)
    return float((images * stage_data.head(stage_data.targets.features[0, rows])).sum(1).mean())


@pytest.mark.slow
def test_texts_and_projection_head_are_trained_together(
    photos: data.Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_CLASS_NAMES", "_EXTRA_LABELS", "_ANCHOR_TEXTS"):
        monkeypatch.setattr(joint, name, 8)
    clip = build(SEED).eval()
    targets = show(photos, clip, tmp_path)
    training, held_out = photos.split(0.3, SEED)
    sampler = Sampler(photos, training, 64, SEED)
    stage_data = joint.build_data(clip, photos, targets, sampler, phrases=50)
    settings = short_stage(learning_rate=1e-3, batch=64, max_steps=30)
    seeing, words = clip.visual.conv1.weight.clone(), clip.text_projection.clone()

    def start(clip: object) -> joint.Pair:
        return joint.Pair(clip, projection_head.train_or_load(targets, sampler, tmp_path, steps=5))

    tuned = joint.train(start(clip), photos, lambda: stage_data, held_out, settings, tmp_path)
    right = float(joint.validate(tuned, photos, held_out, stage_data).split()[2])
    assert right > 60, "chance is 25 %"
    assert torch.equal(clip.visual.conv1.weight, seeing), "the images' side is left alone"
    assert not torch.equal(clip.text_projection, words)
    again = joint.train(start(build(SEED + 1)), photos, lambda: stage_data, held_out, settings, tmp_path)
    assert torch.equal(again.clip.text_projection, clip.text_projection)
    assert torch.equal(again.head.logit_scale, tuned.head.logit_scale)
    updated = projection_head.update_texts(targets, clip, photos, tmp_path)
    assert not torch.equal(updated.classes, targets.classes)
    assert torch.equal(updated.features, targets.features)
