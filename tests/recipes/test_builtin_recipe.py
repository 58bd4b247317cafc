"""The training of the `builtin` model, on a couple of hundred images that this file draws."""

# ruff: noqa: E402 -- the imports below need packages that may be missing

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pa = pytest.importorskip("pyarrow", reason="pyarrow is in requirements-recipe.txt")

import pyarrow.parquet as pq
from PIL import Image, ImageDraw
from torch.nn.functional import normalize

from pipelines.models.registry import BUILTIN
from pipelines.training.model import encode_tokens, random_network
from recipes.builtin import (
    augment,
    data,
    distil,
    evaluate,
    export,
    image_tower,
    joint,
    loop,
    projection_head,
    teacher,
    text_tower,
    texts,
    vision_teacher,
)
from recipes.builtin.__main__ import main
from recipes.builtin.sampler import Sampler

COLOURS = {"red": (220, 40, 40), "green": (40, 190, 60), "blue": (50, 70, 220), "yellow": (230, 220, 50)}
SEED = 7
# Lower than the shipped model's, which is quicker.
RESOLUTION = 64


pytestmark = pytest.mark.usefixtures("one_thread")


def build(seed: int) -> Any:
    """The network with random weights."""
    return random_network(seed, dataclasses.replace(BUILTIN.architecture, image_resolution=RESOLUTION))


def draw(colour: str, shape: str, random: np.random.Generator) -> bytes:
    """A coloured shape somewhere on grey, as WebP."""
    image = Image.new("RGB", (72, 72), tuple(int(v) for v in random.integers(100, 150, 3)))
    left, top = (int(v) for v in random.integers(4, 20, 2))
    box = (left, top, left + 44, top + 44)
    pen = ImageDraw.Draw(image)
    (pen.ellipse if shape == "circle" else pen.rectangle)(box, fill=COLOURS[colour])
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def photos_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """192 images: half with a label (the colour), half with captions."""
    random = np.random.default_rng(SEED)
    folder = tmp_path_factory.mktemp("photos")
    rows = []
    for number in range(192):
        colour, shape = list(COLOURS)[number % 4], ("circle", "square")[number // 4 % 2]
        told = number % 2 == (number // 8) % 2
        captions = [f"a {colour} {shape}", f"there is a {colour}_{shape} on grey"] if told else []
        image = draw(colour, shape, random)
        rows.append({"set": "drawn", "label": "" if told else colour, "captions": captions, "image": image})
    for part in range(2):
        pq.write_table(pa.Table.from_pylist(rows[part::2]), folder / f"photos-{part}.parquet")
    return folder


@pytest.fixture(scope="module")
def photos(photos_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> data.Photos:
    """The images as the stages see them."""
    work = tmp_path_factory.mktemp("prepared")
    data.prepare(photos_dir, work)
    return data.load(work)


class WordVectors:
    """In place of the teacher: a text is the sum of a fixed random vector for each of its words."""

    def __init__(self) -> None:
        self.vectors: dict[str, np.ndarray] = {}
        self.random = np.random.default_rng(SEED)

    def encode(self, sentences: list[str]) -> torch.Tensor:
        for word in " ".join(sentences).split():
            if word not in self.vectors:
                self.vectors[word] = self.random.standard_normal(teacher.TEACHER_DIM)
        sums = [np.sum([self.vectors[word] for word in sentence.split()], axis=0) for sentence in sentences]
        return torch.nn.functional.normalize(torch.tensor(np.array(sums)).float(), dim=-1)


def word_bank(photos: data.Photos) -> image_tower.TextBank:
    """The labels' and captions' embeddings."""
    vectors = WordVectors()
    labels = vectors.encode(texts.label_bank(photos.label_texts))
    shape = (len(texts.TEMPLATES), len(photos.label_texts), -1)
    return image_tower.TextBank(labels.reshape(shape), vectors.encode(photos.caption_texts))


def test_preparation_reads_images_labels_and_captions(photos: data.Photos) -> None:
    assert photos.pixels.shape == (192, 72, 72, 3)
    assert photos.label_texts == sorted(COLOURS)
    assert ((photos.labels >= 0) ^ (photos.captions[:, 0] >= 0)).all()
    assert "there is a red circle on grey" in photos.caption_texts
    row = int(np.flatnonzero(photos.labels == photos.label_texts.index("red"))[0])
    red, green, blue = photos.pixels[row, 36, 36].astype(int)
    assert red > green + 80
    assert red > blue + 80


def test_split_keeps_validation_apart(photos: data.Photos) -> None:
    training, held_out = photos.split(0.1, SEED)
    assert len(held_out) == 19
    assert not set(training) & set(held_out)
    assert len(training) + len(held_out) == len(photos)


def test_sampler_pairs_an_image_with_its_own_text(photos: data.Photos) -> None:
    sampler = Sampler(photos, np.arange(len(photos)), 64, SEED)
    _, pixels, labels, captions = sampler.draw()
    captioned = int((captions >= 0).sum())
    assert 0 < captioned < 64
    assert (captions[:captioned] >= 0).all()
    assert (labels[captioned:] >= 0).all()
    for image, label, caption in zip(pixels, labels.tolist(), captions.tolist(), strict=True):
        text = photos.caption_texts[caption] if caption >= 0 else photos.label_texts[label]
        colour = next(name for name in COLOURS if name in text)
        assert np.abs(image[36, 36].numpy().astype(int) - COLOURS[colour]).max() < 40


def test_caption_loss_counts_equal_texts_as_right() -> None:
    vectors = torch.eye(4)
    numbers = torch.tensor([5, 5, 8])
    images, told = vectors[[0, 0, 1]], vectors[[0, 0, 1]]
    scale = torch.tensor(50.0)
    twins = image_tower.caption_loss(images, told, numbers, scale)
    # Two right answers of equal score: the least that can be had is a fair coin's entropy, for two of three.
    assert twins == pytest.approx(2 / 3 * math.log(2), abs=1e-3)
    swapped = image_tower.caption_loss(images, told.flip(0), numbers, scale)
    assert swapped > 10
    extra = torch.cat([told, vectors[[0]]])
    assert image_tower.caption_loss(images, extra, torch.tensor([5, 5, 8, 9]), scale) > twins + 0.1


def test_augmentation_changes_images_and_keeps_their_form(photos: data.Photos) -> None:
    torch.manual_seed(SEED)
    pixels = torch.from_numpy(photos.pixels[:40].copy())
    first, second = augment.augment(pixels, 64), augment.augment(pixels, 64)
    assert first.shape == (40, 3, 64, 64)
    assert first.isfinite().all()
    assert (first - second).abs().mean() > 0.05
    wide = augment.preprocess(np.zeros((100, 250, 3), np.uint8), 64)
    assert wide.shape == (3, 64, 64)


def test_a_square_is_cut_where_it_is() -> None:
    """Without enlarging, a square's pixels are the image's own."""
    pixels = torch.from_numpy(np.random.default_rng(SEED).integers(0, 256, (2, 72, 72, 3), np.uint8))
    cut = augment.crop(pixels, torch.tensor([[18.0, 30.0, 36.0], [36.0, 0.0, 36.0]]), 36)
    assert (cut[0] - pixels[0, 18:54, 30:66].permute(2, 0, 1)).abs().max() < 0.1
    assert (cut[1] - pixels[1, 36:, :36].permute(2, 0, 1)).abs().max() < 0.1


def test_random_squares_lie_inside() -> None:
    squares = augment.random_squares(1000, 72, 0.5)
    assert squares[:, 2].min() >= 36
    assert squares[:, 2].max() <= 72
    assert squares.min() >= 0
    assert (squares[:, :2] + squares[:, 2:]).max() <= 72.001
    assert squares[:, 2].std() > 5
    assert squares[:, 0].std() > 5


def test_sharpening_keeps_areas_and_lifts_edges() -> None:
    torch.manual_seed(SEED)
    batch = torch.full((8, 3, 16, 16), 0.4)
    batch[..., 8:] = 0.6
    sharper = augment.sharpen(batch, 2.0)
    steps = sharper[..., 8] - sharper[..., 7]
    assert torch.allclose(sharper[..., :6], batch[..., :6])
    assert torch.allclose(sharper[..., 10:], batch[..., 10:])
    assert (steps > 0.2).all()
    assert steps[:, 0, 0].std() > 0.01


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


def test_cut_texts_give_the_embedding_of_the_full_length() -> None:
    clip = build(SEED).eval()
    tokenizer = text_tower.make_tokenizer()
    tokens = text_tower.tokenize(tokenizer, ["a dog", "a photo of two dogs in the snow"], 77)
    assert tokens.shape[1] < 77
    full = torch.zeros(2, 77, dtype=torch.long)
    full[:, : tokens.shape[1]] = tokens
    with torch.inference_mode():
        short, long = encode_tokens(clip, tokens.long()), clip.encode_text(full)
    assert torch.allclose(short, long, atol=1e-4)
    assert short.abs().mean() > 0.01


def test_words_and_phrases() -> None:
    assert texts.fill("a photo of a {}", "umbrella") == "a photo of an umbrella"
    assert texts.whole_words(["a</w>", "dog</w>", "do", "d0g</w>"]) == ["dog"]
    phrases = texts.word_phrases(["cat", "dog", "owl"], 200, SEED)
    assert len(phrases) == 200
    assert phrases == texts.word_phrases(["cat", "dog", "owl"], 200, SEED)
    assert all(1 < len(piece.split()) < 8 for piece in texts.caption_pieces(["a big dog in snow"], 50, SEED))


@pytest.fixture(scope="module")
def learned(photos: data.Photos, tmp_path_factory: pytest.TempPathFactory) -> image_tower.ImageStudent:
    """An image tower after forty small steps."""
    settings = loop.StageSettings(
        minutes=5, learning_rate=2e-3, batch=32, warmup_steps=5, average_decay=0.9, max_steps=40
    )
    work = tmp_path_factory.mktemp("image")
    student = image_tower.train(build(SEED), photos, word_bank(photos), settings, work, SEED)
    assert (work / "image_tower.pt").exists()
    again = image_tower.train(build(SEED), photos, word_bank(photos), settings, work, SEED)
    assert torch.equal(again.map.weight, student.map.weight)
    return student.eval()


def test_image_tower_learns_colours(learned: image_tower.ImageStudent, photos: data.Photos) -> None:
    bank = word_bank(photos)
    rows = np.flatnonzero(photos.labels >= 0)
    images = image_tower.embed_with(learned.images, learned.visual, photos, rows)
    guessed = (images @ learned.texts(bank.labels[0]).T).argmax(1).numpy()
    assert (guessed == photos.labels[rows]).mean() > 0.6, "chance is 0.25"


@pytest.fixture(scope="module")
def corpus(photos: data.Photos) -> text_tower.Corpus:
    """Labels and captions in training, 300 combinations of their words for validation."""
    bank, tokenizer = word_bank(photos), text_tower.make_tokenizer()
    sentences = [*texts.label_bank(photos.label_texts), *photos.caption_texts]
    sentences += texts.word_phrases([*COLOURS, "circle", "square"], 300, SEED)
    vectors = WordVectors()
    vectors.encode(texts.label_bank(photos.label_texts)), vectors.encode(photos.caption_texts)
    embeddings = vectors.encode(sentences)
    assert torch.equal(embeddings[: len(COLOURS)], bank.labels[0])
    return text_tower.Corpus(
        tokens=text_tower.tokenize(tokenizer, sentences, 77),
        embeddings=embeddings,
        weights=torch.ones(len(sentences)),
        token_embeddings=torch.randn(300, teacher.TEACHER_DIM),
    )


def test_the_text_tower_follows_the_teacher(
    learned: image_tower.ImageStudent, photos: data.Photos, corpus: text_tower.Corpus, tmp_path: Path
) -> None:
    clip = build(SEED)
    clip.visual.load_state_dict(learned.visual.state_dict())
    targets = text_tower.map_targets(learned.map, corpus)
    rows = torch.arange(len(corpus), len(corpus.weights))
    with torch.inference_mode():
        before = float(text_tower.distillation_loss(clip, corpus, targets, rows))
    settings = loop.StageSettings(
        minutes=5, learning_rate=1e-3, batch=32, warmup_steps=5, average_decay=0.9, max_steps=40
    )
    clip = text_tower.train(clip, learned.map, corpus, settings, tmp_path, SEED)
    with torch.inference_mode():
        after = float(text_tower.distillation_loss(clip, corpus, targets, rows))
    assert after < 0.5 * before, "texts that were not trained on must come near their targets"
    assert torch.equal(clip.visual.conv1.weight, learned.visual.conv1.weight), "the images' side is left alone"


def test_texts_by_length_give_the_same_embeddings() -> None:
    clip, tokenizer = build(SEED).eval(), text_tower.make_tokenizer()
    groups = [["a photo of two dogs in the snow", "dog"], ["a cat on a red sofa", "a man with a camera", "snow"]]
    tokens = [text_tower.tokenize(tokenizer, group, 77) for group in groups]
    with torch.inference_mode():
        together = text_tower.encode_by_length(clip, tokens, batch=2)
        for part, embedded in zip(tokens, together, strict=True):
            alone = torch.cat([text_tower.encode(clip, row[None]) for row in part])
            assert torch.nn.functional.cosine_similarity(embedded, alone).min() > 0.999


def seen_by_a_teacher(photos: data.Photos) -> dict[str, torch.Tensor]:
    """In place of the image teacher: what colour and shape an image shows, as its features and classes."""
    captions = [photos.caption_texts[row[0]] if row[0] >= 0 else "" for row in photos.captions]
    colours = [
        next(place for place, name in enumerate(COLOURS) if name in (captions[row] or photos.label_texts[label]))
        for row, label in enumerate(photos.labels)
    ]
    generator = torch.Generator().manual_seed(SEED)
    shown = torch.nn.functional.one_hot(torch.tensor(colours), len(COLOURS)).float()
    features = shown @ torch.randn(len(COLOURS), 80, generator=generator)
    features += 0.3 * torch.randn(len(photos), 80, generator=generator)
    logits = torch.zeros(len(photos), 1000)
    logits[:, : len(COLOURS)] = 8 * shown
    return {"features": features.half(), "logits": logits.half()}


def show(photos: data.Photos, clip: object, work_dir: Path) -> projection_head.TeacherTargets:
    """What the stages with the image teacher know, without one class that is held out."""
    seen = seen_by_a_teacher(photos)
    torch.save(seen, work_dir / "seen.pt")
    squares = augment.random_squares(len(photos), data.STORED_SIZE, 0.6)
    torch.save({"squares": squares, "features": seen["features"]}, work_dir / "closer1.pt")
    return projection_head.build_targets(clip, photos, {"great white shark"}, work_dir, closer_looks=1, seed=SEED)


def test_a_classifier_teaches_the_image_tower(photos: data.Photos, tmp_path: Path) -> None:
    """From random weights."""
    clip = build(SEED).eval()
    targets = show(photos, clip, tmp_path)
    training, held_out = photos.split(0.3, SEED)
    sampler = Sampler(photos, training, 32, SEED)
    stage_data = distil.StageData(sampler, targets, projection_head.train_or_load(targets, sampler, tmp_path, steps=60))
    assert "great white shark" in vision_teacher.class_names()
    assert "great white shark" not in targets.names
    assert targets.classes.shape[1] == targets.probabilities.shape[1] == len(targets.names) == 999
    before = images_and_projections(clip, photos, held_out, stage_data)
    settings = loop.StageSettings(
        minutes=5, learning_rate=2e-3, batch=32, warmup_steps=5, average_decay=0.9, max_steps=40
    )
    words = clip.text_projection.clone()
    trained = distil.train(clip, photos, stage_data, held_out, settings, tmp_path)
    assert torch.equal(trained.text_projection, words), "the texts' side is left alone"
    assert images_and_projections(trained, photos, held_out, stage_data) > before + 0.3
    again = distil.train(build(SEED), photos, stage_data, held_out, settings, tmp_path)
    assert torch.equal(again.visual.conv1.weight, trained.visual.conv1.weight)
    assert torch.equal(again.logit_scale, trained.logit_scale)


def test_an_image_is_rare_where_the_teacher_takes_few_for_the_same() -> None:
    logits = torch.zeros(4, vision_teacher.CLASSES)
    logits[torch.arange(4), torch.tensor([7, 3, 7, 7])] = 1
    seen = vision_teacher.Seen(torch.zeros(4, 1), logits)
    assert np.allclose(seen.rarity(), [1 / 3, 1, 1 / 3, 1 / 3])


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
    settings = loop.StageSettings(
        minutes=5, learning_rate=1e-3, batch=64, warmup_steps=5, average_decay=0.9, max_steps=30
    )
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


def images_and_projections(clip: object, photos: data.Photos, rows: np.ndarray, stage_data: distil.StageData) -> float:
    """The mean cosine between images and what the projection head makes of the teacher's features."""
    visual = clip.visual.eval()  # type: ignore[attr-defined]
    images = image_tower.embed_with(lambda pixels: normalize(visual(pixels), dim=-1), visual, photos, rows)
    return float((images * stage_data.head(stage_data.targets.features[0, rows])).sum(1).mean())


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


def test_quantised_rows_are_within_half_a_step() -> None:
    weight = torch.randn(8, 3, 5, 5) * torch.logspace(-4, 1, 8).view(8, 1, 1, 1)
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
    """scikit-image's photograph, at the 72 pixels of the training images."""
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
