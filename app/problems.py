"""Choose the text for an error in the reader's language, and the field beside which the page shows it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from pipelines.errors import (
    BadFilter,
    CollectionNotFound,
    InputError,
    MissingFile,
    ModelError,
    ModelMismatch,
    ModelUnavailable,
    OutOfMemory,
    PrivateAddress,
    SearchError,
    StoreError,
    StoreFull,
    StoreLocked,
    StoreRefused,
    StoreUnavailable,
    TooLarge,
    UnreadableFile,
    UnreadableImage,
    UnreadableQuery,
)

TEXT, CONDITIONS = "text", "conditions"


class Kind(NamedTuple):
    """How the page reports one kind of error.

    key: the key of its text in the locales.
    place: the field that contains the mistake; '' if no field does.
    names: whether the error's own message names a file, a column or a command that the text does not.
    passes: whether the error ends without action by the reader. The page then waits for that.
    """

    key: str
    place: str = ""
    names: bool = False
    passes: bool = False


# The first class that matches applies. For an UnreadableImage, `kind_of` tries its cause first: a URL that cannot be
# fetched, for example.
_KINDS: dict[type[SearchError], Kind] = {
    TooLarge: Kind("error_too_large", TEXT),
    PrivateAddress: Kind("error_private_address", TEXT),
    MissingFile: Kind("error_missing_file", TEXT),
    UnreadableImage: Kind("error_image", TEXT),
    UnreadableQuery: Kind("error_image", TEXT),
    UnreadableFile: Kind("error_address", TEXT),
    BadFilter: Kind("error_condition", CONDITIONS, names=True),
    StoreUnavailable: Kind("error_database", passes=True),
    StoreLocked: Kind("error_locked", passes=True),
    CollectionNotFound: Kind("error_no_collection", passes=True),
    StoreRefused: Kind("error_token"),
    StoreFull: Kind("error_full", names=True),
    StoreError: Kind("error_store", names=True),
    ModelMismatch: Kind("error_other_model", names=True),
    ModelUnavailable: Kind("error_model_server", passes=True),
    ModelError: Kind("error_model", names=True),
    OutOfMemory: Kind("error_memory"),
    InputError: Kind("error_query", TEXT),
    SearchError: Kind("error_title", names=True),
}


class Problem(NamedTuple):
    """An error as the page shows it.

    key, values: the key of its text in the locales, and the values of the text's placeholders.
    detail: the error's own message, in English; '' if the text is enough.
    place: TEXT for the search box, CONDITIONS, or a column of the filter form; '' if no field contains the mistake.
    passes: see `Kind`.
    """

    key: str
    values: Mapping[str, str] = MappingProxyType({})
    detail: str = ""
    place: str = ""
    passes: bool = False


def kind_of(error: SearchError) -> Kind:
    """Return the kind of an error."""
    causes = (error.__cause__, error) if type(error) is UnreadableImage else (error,)
    return next(kind for cause in causes for each, kind in _KINDS.items() if isinstance(cause, each))


def explain(error: SearchError, reads_english: bool = False) -> Problem:
    """Return an error as the page shows it. Readers of English always get its own message, too."""
    kind, values = kind_of(error), dict(error.values)
    place, reason = values.pop("field", kind.place), values.pop("reason", "" if error.key else str(error))
    detail = reason[:1].upper() + reason[1:] if kind.names or reads_english else ""
    return Problem(error.key or kind.key, values, detail, place, kind.passes)
