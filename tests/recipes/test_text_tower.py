"""The text tower follows the text teacher, and its texts are phrases of words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.training.model import encode_tokens
from recipes.builtin import data, image_tower, teacher, text_tower, texts
from tests.support.recipe import COLOURS, SEED, WordVectors, build, short_stage, word_bank

pytestmark = pytest.mark.usefixtures("one_thread")


def test_words_and_phrases() -> None:
    assert texts.fill("a photo of a {}", "umbrella") == "a photo of an umbrella"
    assert texts.whole_words(["a</w>", "dog</w>", "do", "d0g</w>"]) == ["dog"]
    phrases = texts.word_phrases(["cat", "dog", "owl"], 200, SEED)
    assert len(phrases) == 200
    assert phrases == texts.word_phrases(["cat", "dog", "owl"], 200, SEED)
    assert all(1 < len(piece.split()) < 8 for piece in texts.caption_pieces(["a big dog in snow"], 50, SEED))


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


def test_texts_by_length_give_the_same_embeddings() -> None:
    clip, tokenizer = build(SEED).eval(), text_tower.make_tokenizer()
    groups = [["a photo of two dogs in the snow", "dog"], ["a cat on a red sofa", "a man with a camera", "snow"]]
    tokens = [text_tower.tokenize(tokenizer, group, 77) for group in groups]
    with torch.inference_mode():
        together = text_tower.encode_by_length(clip, tokens, batch=2)
        for part, embedded in zip(tokens, together, strict=True):
            alone = torch.cat([text_tower.encode(clip, row[None]) for row in part])
            assert torch.nn.functional.cosine_similarity(embedded, alone).min() > 0.999


@pytest.fixture(scope="module")
def corpus(photos: data.Photos) -> text_tower.Corpus:
    """Return labels and captions for training, and 300 combinations of their words for validation."""
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


@pytest.mark.slow
def test_the_text_tower_follows_the_teacher(
    learned: image_tower.ImageStudent, photos: data.Photos, corpus: text_tower.Corpus, tmp_path: Path
) -> None:
    clip = build(SEED)
    clip.visual.load_state_dict(learned.visual.state_dict())
    targets = text_tower.map_targets(learned.map, corpus)
    rows = torch.arange(len(corpus), len(corpus.weights))
    with torch.inference_mode():
        before = float(text_tower.distillation_loss(clip, corpus, targets, rows))
    settings = short_stage(learning_rate=1e-3)
    clip = text_tower.train(clip, learned.map, corpus, settings, tmp_path, SEED)
    with torch.inference_mode():
        after = float(text_tower.distillation_loss(clip, corpus, targets, rows))
    assert after < 0.5 * before, "texts that were not trained on must come near their targets"
    assert torch.equal(clip.visual.conv1.weight, learned.visual.conv1.weight), "the images' side is left alone"
