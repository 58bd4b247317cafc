"""How a model reads the texts of a query: in which words, by which of its text towers, and what is to be said of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ..errors import InputError
from ..models.languages import NAMES, read_text
from ..models.spec import ModelSpec
from ..query import Query
from .results import Note

Tower = Literal["english", "multilingual"]


class TextInput(NamedTuple):
    """What is embedded for a text: words for one of the towers."""

    tower: Tower
    words: str


def read_query(query: Query, spec: ModelSpec) -> tuple[list[TextInput], list[Note]]:
    """Choose words and tower for each text of a query, and explain what was done about texts that are not English.

    Everyday words of fifteen languages have an English word each: a text of such words alone is embedded in English,
    by any model. Other texts take the model's own multilingual tower, if it has one.

    Raises:
        InputError: the query names a language that is not known.
    """
    if query.language and query.language[:2].lower() not in NAMES:
        raise InputError(f"the language is one of {', '.join(NAMES)}, not '{query.language}'")
    read = [_read(part.text, query, spec) for part in query.parts if part.text]
    return [text for text, _ in read], list(dict.fromkeys(note for _, note in read if note is not None))


def _read(text: str, query: Query, spec: ModelSpec) -> tuple[TextInput, Note | None]:
    language, english = read_text(text, query.language, query.reader)
    as_it_is = TextInput("english", text)
    if language == "en" or (not language and len(spec.languages) == 1):
        return as_it_is, None
    if english:
        return TextInput("english", english), Note("note_translated", {"text": text, "english": english})
    if language and language not in spec.languages:
        values = {"text": text, "language": NAMES.get(language, language), "model": spec.name}
        return as_it_is, Note("note_unknown_language" if len(spec.languages) > 1 else "note_english_only", values)
    return TextInput("multilingual", text), Note("note_multilingual", {"text": text})
