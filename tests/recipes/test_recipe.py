"""The real teachers, and the whole command; both need the packages of the recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.builtin import data, export, teacher, vision_teacher
from recipes.builtin.__main__ import main
from tests.support.recipe import RESOLUTION, SEED

pytestmark = pytest.mark.usefixtures("one_thread")


needs_teacher = pytest.mark.skipif(
    not (teacher.is_available() and vision_teacher.is_available()),
    reason="the teacher's packages (requirements-recipe.txt) are not installed",
)


@needs_teacher
def test_teacher_knows_that_a_puppy_is_nearly_a_dog() -> None:
    puppy, dog, lorry = teacher.Teacher().encode(["a puppy", "a dog", "a lorry on a motorway"]).astype(float)
    assert puppy @ dog > puppy @ lorry + 0.2


@needs_teacher
def test_image_teacher_knows_a_cat(tmp_path: Path) -> None:
    """Uses scikit-image's photograph, at the 72 pixels of the training images."""
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / "chelsea.png") as image:
        small = image.convert("RGB").crop((75, 0, 375, 300)).resize((72, 72))
    photos = data.Photos(np.array(small)[None], np.zeros(1), np.zeros((1, 1)), np.ones(1), [], [])
    seen = vision_teacher.look(photos, tmp_path)
    named = [vision_teacher.class_names()[number] for number in seen.logits[0].float().topk(5).indices]
    assert any("cat" in name for name in named), named
    closer = vision_teacher.look_closer(photos, tmp_path, 1, SEED)
    alike = torch.nn.functional.cosine_similarity(closer.features.float(), seen.features.float()).item()
    assert 0.3 < alike < 0.999, "a part of the cat is like the whole, not the same"
    assert torch.equal(vision_teacher.look_closer(photos, tmp_path, 1, SEED).squares, closer.squares)


@pytest.mark.slow
@needs_teacher
def test_whole_command_runs_and_resumes(photos_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small.safetensors"
    arguments = ["--photos", str(photos_dir), "--work", str(tmp_path / "work"), "--out", str(out), "--threads", "1"]
    trial = ["--max-steps", "3", "--batch", "24", "--phrases", "200", "--vocabulary", "700"]
    trial += ["--resolution", str(RESOLUTION), "--closer-looks", "1"]
    main([*arguments, *trial])
    printed = capsys.readouterr().out
    assert all(f"{stage}: " in printed for stage in ("image_tower", "text_tower", "joint", "distil"))
    first = export.read(out)
    out.unlink()
    main([*arguments, *trial])
    assert "steps" not in capsys.readouterr().out, "the second run must find every stage finished"
    second = export.read(out)
    assert all(torch.equal(first[name], second[name]) for name in first)
