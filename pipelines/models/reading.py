"""Choose the words in which a model reads a text, and the text tower that reads them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from .languages import read_text
from .spec import ModelSpec

Tower = Literal["own", "multilingual"]


class TextInput(NamedTuple):
    """The words to embed for a text, and the tower that embeds them: the model's own or `builtin`'s second one."""

    tower: Tower
    words: str


class Read(NamedTuple):
    """How a text is read.

    language: its code; '' if unknown.
    how: '' for a text read as it is; 'unread' if the model does not read its language.
    """

    tower: Tower
    words: str
    language: str
    how: Literal["", "translated", "multilingual", "unread"] = ""


def read_words(text: str, spec: ModelSpec, language: str = "", reader: str = "") -> Read:
    """Choose the words and the tower for a text.

    The glossary translates everyday words of fourteen languages into English. A text made only of such words is
    embedded in English if the model's own tower reads only English. `builtin` embeds other texts that are not English
    with its multilingual tower.

    Args:
        language: language of the text; '' detects it from letters and words.
        reader: language of the user.
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
