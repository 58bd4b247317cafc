"""Every error that a user can meet, in one tree. A message names the thing, the cause and the remedy.

SearchError
├── InputError          a CSV, a folder, an image, an option or a filter is not usable          (exit 2)
│   ├── WrongType       a Python value has the wrong type
│   ├── ModelMismatch   the collection was made by another model
│   ├── BadFilter       a filter cannot be read, or the collection does not support it
│   ├── UnreadableFile  a file or an address cannot be read
│   │   ├── MissingFile     because the server says that there is no such file
│   │   ├── PrivateAddress  because nothing is fetched from private networks
│   │   └── UnreadableImage  or its content is not an image that can be decoded
│   │       └── TooLarge    because it has more bytes or pixels than the limits allow
│   ├── UnreadableQuery an image to search with cannot be read
│   └── UnknownImage  the collection has no image of this id
├── ForkedProcess       a forked process uses what its parent had opened                        (exit 2)
├── OutOfMemory         there is not enough memory to decode an image                           (exit 3)
├── ModelError          a model's weights are missing, damaged or of another model              (exit 3)
│   └── ModelUnavailable  no model server answers, or it stopped answering for too long
└── StoreError          Milvus refused or failed                                                (exit 3)
    ├── StoreLocked     another process holds the Milvus Lite file
    ├── StoreUnavailable  no server answers, or it stopped answering for too long
    │   └── ColumnsAwaited  or it is still sending the columns by which rows are ordered and counted
    ├── StoreRefused    the token is wrong
    ├── StoreFull       the disk is full
    ├── StoreReadOnly   the Milvus Lite file cannot be written
    └── CollectionNotFound
"""

from __future__ import annotations

import re

EXIT_REJECTED, EXIT_NOT_BETTER, EXIT_INTERRUPTED = 1, 4, 130  # besides 0 and the exit codes of the errors

# Suffixes of collections while they replace another one (`indexing.exchange`). Users did not choose these names.
_INNER_NAME = re.compile(r"__(?:reembed|replaced|rebuild|outdated|import|former)\b")


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, as messages show it: "1 row", "1,200 rows"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


class SearchError(Exception):
    """Base of all errors that are shown to the user as one line.

    key, values: the name of the page's translation of the message, '' if there is none, and its placeholders' values.
    """

    exit_code = 2

    def __init__(self, message: str = "", key: str = "", **values: str) -> None:
        super().__init__(_INNER_NAME.sub("", message))
        self.key, self.values = key, values


class InputError(SearchError):
    """The user's input cannot be used."""


class WrongType(InputError, TypeError):
    """A Python value has the wrong type."""


class ModelMismatch(InputError):
    """The collection holds embeddings of another model."""


class BadFilter(InputError):
    """A filter cannot be read, or the collection does not support it."""


class UnreadableFile(InputError):
    """A file or an address cannot be read. The message is the reason alone: the code that catches it knows the name."""


class MissingFile(UnreadableFile):
    """There is no file at an address: the server answers 404 or 410. The message is the reason alone."""


class PrivateAddress(UnreadableFile):
    """Nothing is fetched from this address. The message is the reason alone."""


class UnreadableImage(UnreadableFile):
    """An image cannot be read or decoded. The message is the reason alone."""


class TooLarge(UnreadableImage):
    """An image has more bytes or pixels than the limits allow. The message is the reason alone."""


class UnreadableQuery(InputError):
    """An image to search with cannot be read."""


class UnknownImage(InputError):
    """The collection has no image of this id."""


class ForkedProcess(SearchError):
    """A forked process uses what its parent had opened, without the threads that belong to it."""


class OutOfMemory(SearchError, MemoryError):
    """There is not enough memory. No image is to blame, so the run ends."""

    exit_code = 3


class ModelError(SearchError):
    """A model's weights are missing, damaged or of another model."""

    exit_code = 3


class ModelUnavailable(ModelError):
    """No model server answers at this address."""


class StoreError(SearchError):
    """Milvus refused or failed."""

    exit_code = 3


class StoreLocked(StoreError):
    """The Milvus Lite file is open in another process."""


class StoreUnavailable(StoreError):
    """No Milvus server answers at this address."""


class ColumnsAwaited(StoreUnavailable):
    """The server is still sending the columns by which rows are ordered and counted.

    progress: the number of rows received so far, and of all rows.
    """

    progress = (0, 0)


class StoreRefused(StoreError):
    """The server does not accept the token."""


class StoreFull(StoreError):
    """The disk under the Milvus Lite file is full."""


class StoreReadOnly(StoreError):
    """The Milvus Lite file cannot be written, only searched."""


class CollectionNotFound(StoreError):
    """The collection does not exist or is empty. `uri` and `collection` say which one, '' if unknown."""

    def __init__(self, message: str, uri: str = "", collection: str = "") -> None:
        super().__init__(message)
        self.uri, self.collection = uri, _INNER_NAME.sub("", collection)
