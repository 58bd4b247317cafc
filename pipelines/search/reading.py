"""Choose how a model reads the texts of a query, and the notes for the user about it."""

from __future__ import annotations

from ..errors import InputError
from ..models.languages import NAMES
from ..models.reading import Read, TextInput, read_words
from ..models.spec import ModelSpec
from ..models.text_models import list_text_models
from ..query import Query
from .results import Note

_LISTED = 16  # maximum number of languages in a note


def read_query(query: Query, spec: ModelSpec) -> tuple[list[TextInput], list[Note]]:
    """Choose words and text tower for each text of a query (see `read_words`), with notes on other languages.

    Raises:
        InputError: the query names an unknown language.
    """
    if query.language and query.language[:2].lower() not in NAMES:
        raise InputError(f"the language is one of {', '.join(NAMES)}, not '{query.language}'")
    texts = [part.text for part in query.parts if part.text]
    read = [read_words(text, spec, query.language, query.reader) for text in texts]
    notes = [_note(text, one, spec) for text, one in zip(texts, read, strict=True) if one.how]
    return [TextInput(one.tower, one.words) for one in read], list(dict.fromkeys(notes))


def _note(text: str, read: Read, spec: ModelSpec) -> Note:
    if read.how == "translated":
        return Note("note_translated", {"text": text, "english": read.words})
    if read.how == "multilingual":
        return Note("note_multilingual", {"text": text})
    values = {"text": text, "language": NAMES.get(read.language, read.language), "model": spec.name}
    if spec.languages == ("en",):
        return Note("note_english_only", {**values, "way": _way_out(spec)})
    reads = " ".join(spec.languages[:_LISTED]) + (" …" if len(spec.languages) > _LISTED else "")
    return Note("note_unknown_language", {**values, "reads": reads})


def _way_out(spec: ModelSpec) -> str:
    """Return the option that reads other languages: another text model for these images, or another model."""
    fitting = next((model.name for model in list_text_models() if spec.name in model.fits), "")
    return f"--text-model {fitting}" if fitting else "--model builtin"
