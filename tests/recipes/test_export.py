"""The file that ships is small and gives the same embeddings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recipes.builtin import augment, data, evaluate, export, image_tower
from tests.support.recipe import RESOLUTION, SEED, build

pytestmark = pytest.mark.usefixtures("one_thread")


def test_another_resolution_keeps_all_but_the_positions() -> None:
    state = build(SEED).state_dict()
    name = "visual.attnpool.positional_embedding"
    side = RESOLUTION // 32
    assert state[name].shape[0] == side**2 + 1
    state[name][1:] = torch.arange(side).repeat_interleave(side)[:, None]
    larger = export.at_resolution(state, 32 * (side + 1))
    rows = larger[name][1:].reshape(side + 1, side + 1, -1)
    assert torch.equal(larger[name][0], state[name][0])
    assert larger[name].shape[0] == (side + 1) ** 2 + 1
    assert (rows[1:] - rows[:-1] > 0.3).all()
    assert torch.allclose(rows[:, 1:], rows[:, :-1])
    assert all(larger[key] is state[key] for key in state if key != name)


def test_quantised_rows_are_within_half_a_step() -> None:
    torch.manual_seed(SEED)  # the rows are large enough for fp16 to hold their scales in full
    weight = torch.randn(8, 3, 5, 5) * torch.logspace(-2, 1, 8).view(8, 1, 1, 1)
    packed = export.pack({"w": weight.repeat(1, 20, 1, 1), "b": torch.ones(3)})
    assert packed["w"].dtype == torch.int8
    assert packed["w.scale"].shape == (8, 1, 1, 1)
    error = (export.unpack(packed)["w"] - weight.repeat(1, 20, 1, 1)).abs()
    assert (error <= 0.6 * packed["w.scale"].float()).all()
    assert packed["b"].dtype == torch.float16


def test_too_large_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="limit"):
        export.save({"w": torch.ones(5100, 5000)}, tmp_path / "big.safetensors", {})
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_weights_file_gives_the_same_embeddings(
    learned: image_tower.ImageStudent, photos: data.Photos, tmp_path: Path
) -> None:
    clip = build(SEED)
    clip.visual.load_state_dict(learned.visual.state_dict())
    path = tmp_path / "builtin.safetensors"
    size = export.save(clip.state_dict(), path, {"version": "test"})
    assert size == path.stat().st_size < export.MAX_FILE_BYTES
    assert list(tmp_path.iterdir()) == [path]
    loaded = build(SEED + 1).eval()
    missing = loaded.load_state_dict(export.read(path), strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    _assert_alike(clip.eval(), loaded, photos)


def _assert_alike(first: object, second: object, photos: data.Photos) -> None:
    batch = torch.stack([augment.preprocess(image, RESOLUTION) for image in photos.pixels[:16]])
    with torch.inference_mode():
        mine, theirs = evaluate.clip_encoders(first), evaluate.clip_encoders(second)
        assert (mine[0](batch) * theirs[0](batch)).sum(-1).min() > 0.99
        sentences = ["a red circle", "a photo of a dog"]
        assert (mine[1](sentences) * theirs[1](sentences)).sum(-1).min() > 0.99
