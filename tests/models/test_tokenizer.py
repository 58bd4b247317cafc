"""Tokens equal those of the reference implementations, on a thousand texts of every kind."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from pipelines.models import tokenizer
from pipelines.models.tokenizer import tokenize
from pipelines.towhee_compat import import_clip
from tests.support.models import odd_texts


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return odd_texts(1000)


def wrong_texts(texts: list[str], expected: np.ndarray) -> list[str]:
    """Return the texts whose tokens differ."""
    assert expected.shape == (len(texts), 77)
    return [text for text, ours, theirs in zip(texts, tokenize(texts), expected, strict=True) if (ours != theirs).any()]


def test_tokens_are_those_of_towhee(texts: list[str]) -> None:
    assert wrong_texts(texts, import_clip().tokenize(texts, truncate=True).numpy()) == []


@pytest.mark.usefixtures("torchvision")
def test_tokens_are_those_of_open_clip(texts: list[str]) -> None:
    import open_clip

    # open_clip adds its cleaning "lower"; the texts are the same otherwise.
    assert wrong_texts(texts, open_clip.get_tokenizer("ViT-B-32")(texts).numpy()) == []


@pytest.mark.usefixtures("torchvision")
def test_tokens_are_those_of_hugging_face(texts: list[str], tmp_path: Path) -> None:
    """The test builds `CLIPTokenizer` from the same vocabulary, in the form that it wants."""
    from transformers import CLIPTokenizer

    reference = tokenizer.load_tokenizer()
    (tmp_path / "vocab.json").write_text(json.dumps(reference.encoder))
    path = Path(import_clip().__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
    merges = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : 49152 - 256 - 2 + 1]
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    theirs = CLIPTokenizer.from_pretrained(tmp_path)
    # Its fast tokenizer repairs no mojibake and unescapes no HTML, so it gets the texts after CLIP's cleaning.
    from towhee.models.clip.simple_tokenizer import basic_clean, whitespace_clean

    cleaned = [whitespace_clean(basic_clean(text)).lower() for text in texts]
    encoded = theirs(cleaned, truncation=True, max_length=77)["input_ids"]
    expected = np.zeros((len(texts), 77), np.int64)
    for row, ids in zip(expected, encoded, strict=True):
        row[: len(ids)] = ids
    assert wrong_texts(texts, expected) == []


def test_a_text_that_is_too_long_still_ends_with_the_end_of_text() -> None:
    tokens = tokenize(["dog " * 500, "dog"], context_length=20)
    assert tokens.shape == (2, 20)
    assert tokens[0, -1] == 49407
    assert list(tokens[1, :4]) == [49406, 1929, 49407, 0]


def test_a_truncated_text_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer._warn_of_cut.cache_clear()
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        tokenize(["dog " * 75, "dog"])
    assert caplog.messages == []
    for _ in range(3):
        tokenize(["dog " * 76])
    assert caplog.messages == ["a text is longer than the model reads (75 tokens): the rest is ignored"]


def test_bytes_that_are_not_utf8_become_question_marks() -> None:
    assert np.array_equal(tokenize(["a \udcff dog"]), tokenize(["a ? dog"]))
