"""Stage 2: train the CLIP text tower towards the embeddings of the teacher, linearly mapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from pipelines.training.model import encode_tokens

from . import files, loop, teacher, texts
from .data import Photos

VALIDATION_TEXTS = 1000
# The standard deviation with which CLIP initialises token embeddings.
_TOKEN_STD = 0.02
# Number of batches whose texts are sorted by length together, so that short texts share a batch.
_POOL = 8


def make_tokenizer() -> Any:
    """Return CLIP's tokenizer from Towhee; building one takes 70 ms, so build it once."""
    from towhee.models.clip.simple_tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def tokenize(tokenizer: Any, sentences: Sequence[str], context: int) -> torch.Tensor:
    """Return token numbers, one row per text, padded with 0 to the longest and cut at `context`."""
    start, end = tokenizer.encoder["<|startoftext|>"], tokenizer.encoder["<|endoftext|>"]
    rows = [[start, *tokenizer.encode(text)[: context - 2], end] for text in sentences]
    tokens = torch.zeros(len(rows), max(len(row) for row in rows), dtype=torch.int32)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = torch.tensor(row, dtype=torch.int32)
    return tokens


def encode(clip: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Return unit-length embeddings; the batch is cut to its longest text."""
    longest = int((tokens > 0).sum(1).max())
    with loop.half_precision():
        embedded = encode_tokens(clip, tokens[:, :longest].long())
    return F.normalize(embedded.float(), dim=-1)


def encode_by_length(clip: Any, groups: Sequence[torch.Tensor], batch: int = 128) -> list[torch.Tensor]:
    """Encode groups of token rows sorted by length, so that short rows are not padded to the longest."""
    width = max(group.shape[1] for group in groups)
    tokens = torch.cat([F.pad(group, (0, width - group.shape[1])) for group in groups])
    order = (tokens > 0).sum(1).argsort()
    embedded = torch.cat([encode(clip, tokens[rows]) for rows in torch.split(order, batch)])
    return list(torch.split(embedded[order.argsort()], [len(group) for group in groups]))


@dataclass(frozen=True)
class Corpus:
    """Texts as tokens, each with the teacher's embedding and a weight; the last rows are for validation."""

    tokens: torch.Tensor
    embeddings: torch.Tensor
    weights: torch.Tensor
    token_embeddings: torch.Tensor

    def __len__(self) -> int:
        return len(self.weights) - min(VALIDATION_TEXTS, len(self.weights) // 10)


def gather(photos: Photos, words: Sequence[str], amount: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Return all texts of the corpus, shuffled and distinct, and the weight of each in drawing."""
    kinds = (
        (texts.label_bank(photos.label_texts), 3.0),
        (photos.caption_texts, 1.0),
        (list(words), 0.6),
        (texts.caption_pieces(photos.caption_texts, amount // 2, seed), 0.8),
        (texts.word_phrases(words, amount, seed), 0.6),
    )
    weights: dict[str, float] = {}
    for sentences, weight in kinds:
        for sentence in sentences:
            weights.setdefault(sentence, weight)
    sentences = list(weights)
    order = np.random.default_rng(seed).permutation(len(sentences))
    return [sentences[number] for number in order], np.array([weights[sentences[number]] for number in order])


def build_corpus(photos: Photos, amount: int, vocabulary: int, context: int, work_dir: Path, seed: int) -> Corpus:
    """Gather, tokenize and embed the texts, or load them from `work_dir`.

    `amount` is the number of phrases; `vocabulary` limits a trial to the first tokens.
    """
    path = work_dir / "corpus.pt"
    if not path.exists():
        tokenizer, model = make_tokenizer(), teacher.Teacher()
        tokens = list(tokenizer.encoder)[: vocabulary or None]
        sentences, weights = gather(photos, texts.whole_words(tokens), amount, seed)
        pieces = [token.removesuffix("</w>") for token in tokens]
        saved = {
            "tokens": tokenize(tokenizer, sentences, context),
            "embeddings": torch.from_numpy(model.encode(sentences)),
            "weights": torch.from_numpy(weights),
            "token_embeddings": torch.from_numpy(model.encode(pieces)),
        }
        files.save(saved, path)
    return Corpus(**torch.load(path, weights_only=True))


@torch.no_grad()
def start_from_meanings(clip: Any, token_embeddings: torch.Tensor) -> None:
    """Initialise each token with the teacher's embedding of its letters, reduced to the tower's width.

    The tower then starts as a bag of words, and words that no training text contains still get sensible embeddings.
    """
    embeddings = token_embeddings.float()
    centred = embeddings - embeddings.mean(0)
    _, vectors = torch.linalg.eigh(centred.T @ centred)
    width = clip.token_embedding.weight.shape[1]
    reduced = centred @ vectors.flip(1)[:, :width]
    clip.token_embedding.weight[: len(reduced)] = reduced / reduced.std() * _TOKEN_STD


def batches(corpus: Corpus, batch: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield the row numbers of batches without end, each batch with texts of similar length."""
    random = np.random.default_rng(seed)
    chances = corpus.weights[: len(corpus)].numpy()
    chances = chances / chances.sum()
    lengths = (corpus.tokens > 0).sum(1).numpy()
    while True:
        pool = random.choice(len(corpus), batch * _POOL, p=chances)
        pool = pool[np.argsort(lengths[pool], kind="stable")].reshape(_POOL, batch)
        for rows in random.permutation(pool):
            yield torch.from_numpy(rows)


def distillation_loss(clip: Any, corpus: Corpus, targets: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return one minus the cosine to the target embedding, averaged."""
    return 1 - (encode(clip, corpus.tokens[rows]) * targets[rows]).sum(-1).mean()


@torch.inference_mode()
def map_targets(mapping: nn.Linear, corpus: Corpus) -> torch.Tensor:
    """Return the embeddings that the tower has to reproduce."""
    parts = [F.normalize(mapping(part.float()), dim=-1) for part in torch.split(corpus.embeddings, 8192)]
    return torch.cat(parts).clone()


@torch.inference_mode()
def validate(clip: Any, corpus: Corpus, targets: torch.Tensor) -> str:
    """Return the mean cosine over the texts that are not trained on."""
    rows = torch.arange(len(corpus), len(corpus.weights))
    return f"held-out cosine {1 - float(distillation_loss(clip, corpus, targets, rows)):.4f}"


def train(
    clip: Any, mapping: nn.Linear, corpus: Corpus, settings: loop.StageSettings, work_dir: Path, seed: int
) -> Any:
    """Train the text side of `clip`, or load it from `work_dir`; the image side does not change.

    Only the text side is saved: another process may still be training the image tower.
    """
    path = work_dir / "text_tower.pt"
    if path.exists():
        clip.load_state_dict(torch.load(path, weights_only=True), strict=False)
        return clip.eval()
    clip.visual.requires_grad_(False)
    start_from_meanings(clip, corpus.token_embeddings)
    targets = map_targets(mapping, corpus)
    stage = loop.Stage("text_tower", clip, settings, work_dir)
    rows = batches(corpus, settings.batch, seed + stage.steps)
    trained = stage.run(
        lambda: distillation_loss(clip, corpus, targets, next(rows)),
        lambda average: validate(average, corpus, targets),
    )
    state = trained.state_dict()
    own = [name for name in state if not name.startswith("visual.") and name != "logit_scale"]
    files.save({name: state[name] for name in own}, path)
    return trained
