"""How a model reads a text: in which words, and by which of its text towers."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .languages import read_text
from .spec import ModelSpec

Tower = Literal["own", "multilingual"]


class TextInput(NamedTuple):
    """What is embedded for a text: words for the model's own tower, or for the second one of `builtin`."""

    tower: Tower
    words: str


class Read(NamedTuple):
    """How a text is read.

    language: its code, '' if nothing tells it.
    how: '' for a text as it is; 'unread' if the model does not read its language.
    """

    tower: Tower
    words: str
    language: str
    how: Literal["", "translated", "multilingual", "unread"] = ""


def read_words(text: str, spec: ModelSpec, language: str = "", reader: str = "") -> Read:
    """Choose words and tower for a text.

    Everyday words of fifteen languages have an English word each: a text of such words alone is embedded in English,
    by every model that reads English only. Other texts take `builtin`'s multilingual tower.

    Args:
        language: that of the text, '' to tell it from letters and words.
        reader: the language of the person who asks.
    """
    found, english = read_text(text, language, reader)
    own = ("en",) if spec.second_tower else spec.languages
    if found in own or not (found or spec.second_tower):
        return Read("own", text, found)
    if english and own == ("en",):
        return Read("own", english, found, "translated")
    if found and found not in spec.languages:
        return Read("own", text, found, "unread")
    return Read("multilingual", text, found, "multilingual")
