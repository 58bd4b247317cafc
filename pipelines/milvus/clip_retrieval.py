"""Read the output folder of clip-retrieval's inference: `img_emb/*.npy` and `metadata/*.parquet`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError, ModelMismatch, counted
from ..fields import EMBEDDING, ID, PATH, Field, FieldType
from ..sources.source import Shard, absolute_in, path_id
from . import schema
from .vector_folder import VectorFolder
from .vector_parts import build_columns, make_part, read_columns, read_part, unit

if TYPE_CHECKING:
    import pyarrow as pa


def is_clip_retrieval(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder has the layout of clip-retrieval's output."""
    return os.path.isdir(os.path.join(folder, "img_emb"))


class ClipRetrievalFolder(VectorFolder):
    """The output of `clip-retrieval inference` as a folder of vectors. Ids are derived from the paths.

    Args:
        model_id, dim: of the model that made the embeddings; the files do not record them.
        path_column: the column of the metadata that holds paths or URLs. Relative paths start from the current folder.

    Raises:
        InputError: there is no such column, or embeddings and metadata have different numbers of rows.
        ModelMismatch: the embeddings have another number of dimensions.
    """

    def __init__(self, folder: str | os.PathLike[str], model_id: str, dim: int, path_column: str) -> None:
        self._of_model, self._dim, self._path_column = model_id, dim, path_column
        super().__init__(folder)

    def _find_parts(self, shard: Shard | None) -> list[Path]:
        import pyarrow as pa

        parts = sorted((self._folder / "metadata").glob("metadata_*.parquet"))
        if not parts:
            raise InputError(f"{self._folder} has no metadata: run clip-retrieval inference with --enable_metadata")
        found = [read_columns(part).remove_metadata() for part in parts]
        columns = pa.unify_schemas(found, promote_options="permissive")  # a gap turns a part's integers into floats
        if self._path_column not in columns.names:
            names = ", ".join(columns.names)
            raise InputError(f"{parts[0]} has no column '{self._path_column}': name one of {names} by --path-column")
        kept = [column for column in columns if column.name not in (self._path_column, "__index_level_0__")]
        self._fields = schema.as_stored([Field(column.name, _type(column.type)) for column in kept], has_null=True)
        return parts

    def _columns_of(self, part: Path) -> pa.Schema:
        return build_columns(self._dim, self._fields, half=False)

    def _read(self, part: Path, names: Sequence[str] | None = None) -> pa.Table:
        metadata = read_part(part)
        vectors = self._vectors(part, metadata.num_rows)
        absolute = absolute_in(os.getcwd())
        paths = [absolute(str(path or "")) for path in metadata[self._path_column].to_pylist()]
        cells = {field.key: _cells(metadata, field) for field in self._fields}
        unknown = {schema.MODEL: self._of_model, schema.MTIME_NS: 0, schema.SIZE: 0, schema.HASH: "", schema.SOURCE: ""}
        rows = [
            {**schema.ADDED, **unknown, **{key: column[at] for key, column in cells.items()},
             ID: path_id(path), PATH: path, EMBEDDING: vectors[at]}
            for at, path in enumerate(paths)
        ]  # fmt: skip
        table = make_part(self._columns_of(part), rows)
        return table.select(names) if names else table

    def _vectors(self, part: Path, rows: int) -> np.ndarray:
        file = self._folder / "img_emb" / part.with_suffix(".npy").name.replace("metadata", "img_emb")
        try:
            vectors = np.load(file)
        except (OSError, EOFError, ValueError) as error:
            raise InputError(f"{file} cannot be read: {error}") from error
        if vectors.ndim != 2 or len(vectors) != rows:
            raise InputError(f"{file} has the shape {vectors.shape}, and {part} has {counted(rows, 'row')}")
        if vectors.shape[1] != self._dim:
            raise ModelMismatch(f"{file} has {vectors.shape[1]} dimensions, and {self._of_model} has {self._dim}")
        return unit(vectors)


def _type(type: pa.DataType) -> FieldType:
    import pyarrow as pa

    kinds = {pa.types.is_boolean: FieldType.BOOL, pa.types.is_integer: FieldType.INT}
    kinds |= {pa.types.is_floating: FieldType.FLOAT, pa.types.is_timestamp: FieldType.DATE}
    return next((kind for is_kind, kind in kinds.items() if is_kind(type)), FieldType.TEXT)


def _cells(metadata: pa.Table, field: Field) -> list[object]:
    """Return a column's cells as rows store them. NaN becomes an empty cell, and unsupported types become text."""
    import pyarrow as pa

    if field.name not in metadata.column_names:
        return [field.default] * metadata.num_rows
    column = metadata[field.name]
    if field.type is FieldType.DATE:
        column = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
    cells = column.to_pylist()
    if field.type is FieldType.TEXT:
        return ["" if cell is None else str(cell) for cell in cells]
    empty = [cell is None or cell != cell for cell in cells]
    return [None if gap else cell for gap, cell in zip(empty, cells, strict=True)]
