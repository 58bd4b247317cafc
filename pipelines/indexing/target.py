"""Where the rows of a run go: a collection that is opened, made, or given the columns that it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ..engine import load_towhee
from ..errors import InputError, ModelMismatch
from ..fields import Field
from ..images.decode import decode
from ..milvus import schema
from ..milvus.collection import Collection
from ..milvus.columns import adopt
from ..milvus.index import Index
from ..milvus.lite import is_lite, lite_path
from ..milvus.lite_mirror import refuse_read_only
from ..milvus.vector_folder import VectorFolder
from ..models.clip import ClipModel, model_of
from ..models.model_id import is_compatible, is_same_model, note_on_recipe, resolve_model, with_recipe
from ..settings import Settings
from ..sources.column_types import ColumnType
from ..sources.source import WHOLE, Shard, Source
from .exchange import finish_exchange
from .file_columns import ALL, FileColumns
from .rebuild import Copied, columns_for, rebuild
from .reembed import replacement_of

_SMALL_IMAGE = b"P6 2 2 255\n" + bytes(12)  # a PPM of 2 × 2 black pixels


class Target(NamedTuple):
    """Where the rows go. With --reembed, `collection` takes the place of `replaces` at the end of the run."""

    collection: Collection
    replaces: Collection | None
    model: ClipModel
    model_id: str

    @property
    def known(self) -> Collection:
        """The collection that held the rows before this run."""
        return self.replaces or self.collection


def open_target(settings: Settings, reembed: bool) -> Target:
    """Find the collection to fill, and load the model: that of the settings, or else the collection's own."""
    if is_lite(settings.uri):
        refuse_read_only(lite_path(settings.uri))
    collection = Collection(settings.uri, settings.collection, settings.token)
    finish_exchange(collection)
    collection.read_as_of_now()  # so that not every look-up waits for the latest writes
    stored_model_id = collection.model() if collection.exists() else ""
    model = model_of(resolve_model(settings, stored_model_id))
    model_id = model.model_id
    if is_same_model(stored_model_id, model_id):
        # A trained model's folder may have moved, which changes the id. The rows keep their model id.
        is_old = collection.exists() and collection.version() == 1
        model_id = with_recipe(stored_model_id, model_id) if is_old else stored_model_id
    if reembed and stored_model_id not in ("", model_id):
        replacement = replacement_of(collection, model_id)
        replacement.read_as_of_now()
        return Target(replacement, collection, model, model_id)
    return Target(collection, None, model, model_id)


def open_folder(settings: Settings, folder: str, part: Shard) -> Target:
    """Open the folder to fill instead of a collection, and load the model."""
    files = VectorFolder(folder, part)
    model = model_of(resolve_model(settings, files.model()))
    return Target(files, None, model, files.model() or model.model_id)


def prepare_collection(
    target: Target, columns: tuple[Field, ...], types: Mapping[str, ColumnType], index: Index | None, part: Shard,
    on_copied: Copied,
) -> int:  # fmt: skip
    """Create the collection, or check that it can store these rows and give it the columns that it lacks.

    Return the number of rows that were copied for this.
    """
    collection, model = target.collection, target.model
    if collection.exists():
        _check_model(collection, model)
    else:
        warm_up(model)  # in the background, because every image is new
        collection.create(model.spec.dim, columns, index)
    copied = 0
    for outdated in {collection, target.known}:
        if outdated.version() == schema.VERSION and outdated.fields() == columns:
            continue
        if isinstance(outdated, VectorFolder):
            raise InputError(f"{outdated} has other columns than this source: write it into another folder")
        if part != WHOLE:
            raise InputError(
                f"collection '{collection.name}' has to be copied once to take these columns, and other shards may be "
                "writing: run this source without --shard first (with --limit 1 it is quick)"
            )
        copied += rebuild(outdated, columns, types, on_copied, target.model_id)
    return copied


def adopt_columns(source: Source, name: str, collection: Collection, wanted: FileColumns = ALL) -> tuple[Field, ...]:
    """Give the source's columns their types and keys in a collection. Return the columns that it should have."""
    if not collection.exists():
        columns = schema.as_stored([*source.fields, *wanted.new(None, source.fields)], collection.has_null)
    else:
        collection.refuse_older_program()
        columns = columns_for(collection, source, name, wanted.new(collection.fields(), source.fields))
    source.fields = adopt(source.fields, columns)
    return columns


def _check_model(collection: Collection, model: ClipModel) -> None:
    stored_model_id = collection.model()
    if not is_compatible(stored_model_id, model.model_id) or collection.dim() != model.spec.dim:
        raise ModelMismatch(
            f"collection '{collection.name}' was made by {stored_model_id or 'another model'}, "
            f"this is {model.model_id}{note_on_recipe(stored_model_id, model.model_id)}: "
            "use that model (--model), another collection (--collection), or embed everything again (--reembed)"
        )


def warm_up(model: ClipModel) -> None:
    """Start to load the libraries that decode and resize (PyTorch takes a second) and the image tower.

    An error here is raised again for the first image, and reported then.
    """
    # Importing PyTorch restores the warning filters that it found. Towhee sets some, so it has to be imported first.
    load_towhee()
    size = model.spec.image_size
    pool = ThreadPoolExecutor(2, thread_name_prefix="warm-up")
    pool.submit(decode, _SMALL_IMAGE, 1)
    pool.submit(model.embed_images, np.zeros((1, size, size, 3), np.uint8))
    pool.shutdown(wait=False)
