"""The texts that the towers learn from: labels, captions, pieces of captions, words and pairs of words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Templates for the name of a thing; evaluations use the first.
TEMPLATES = (
    "a photo of a {}",
    "{}",
    "a {}",
    "an image of a {}",
    "a close-up photo of a {}",
    "a photo of the {}",
)
# Templates for phrases of one or two words.
PHRASES = (
    "{}", "a {}", "a photo of a {}", "the {}", "{} {}", "a {} {}", "a photo of a {} {}", "a {} and a {}",
    "a {} on a {}", "a {} in the {}", "a man with a {}", "a woman with a {}", "a red {}", "a blue {}",
    "a white {}", "a black {}", "a green {}", "an old {}", "a small {}", "two {}s", "people and a {}",
)  # fmt: skip


def fill(template: str, *words: str) -> str:
    """Fill a template; `a` becomes `an` before a vowel."""
    parts = template.format(*words).split(" ")
    for number in range(len(parts) - 1):
        if parts[number] == "a" and parts[number + 1][:1].lower() in ("a", "e", "i", "o", "u"):
            parts[number] = "an"
    return " ".join(parts)


def label_bank(labels: Sequence[str]) -> list[str]:
    """Return every label in every template: all labels in the first template, then all in the second, and so on."""
    return [fill(template, label) for template in TEMPLATES for label in labels]


def whole_words(tokens: Sequence[str]) -> list[str]:
    """Return the tokens that are whole words of three or more plain letters, in the vocabulary's order.

    That is the order of merging, so the most common words come first.
    """
    words = (token.removesuffix("</w>") for token in tokens if token.endswith("</w>"))
    return [word for word in words if len(word) >= 3 and word.isascii() and word.isalpha()]


def word_phrases(words: Sequence[str], count: int, seed: int) -> list[str]:
    """Draw phrases of one or two words; common words are drawn more often."""
    random = np.random.default_rng(seed)
    # Squaring a uniform number favours the front of the list, where the common words are.
    picks = (random.random((count, 2)) ** 2 * len(words)).astype(int)
    phrases = random.integers(0, len(PHRASES), count)
    return [
        fill(PHRASES[phrase], words[first], words[second])
        for (first, second), phrase in zip(picks, phrases, strict=True)
    ]


def caption_pieces(captions: Sequence[str], count: int, seed: int) -> list[str]:
    """Draw runs of two to seven words out of captions: they resemble typed queries more than whole sentences do."""
    random = np.random.default_rng(seed)
    pieces = []
    for number in random.integers(0, len(captions), count):
        words = captions[number].split(" ")
        length = min(len(words), int(random.integers(2, 8)))
        start = int(random.integers(0, len(words) - length + 1))
        pieces.append(" ".join(words[start : start + length]))
    return pieces
