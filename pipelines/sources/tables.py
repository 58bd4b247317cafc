"""Convert other tables to CSV: JSON Lines, Parquet and DataFrames. Each becomes a temporary CSV and is checked as one.

Row numbers count the rows of the table from 1.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

from ..errors import InputError
from ..fields import PATH, clean_name
from .csv_text import Layout, TemporaryFile, find_path_column, shown

if TYPE_CHECKING:
    from pandas import DataFrame

_BATCH_ROWS = 20_000
# pandas' name for an unnamed index in a Parquet file.
_INDEX = re.compile(r"__index_level_\d+__")


def convert_file(path: os.PathLike[str], suffix: str, path_column: str) -> tuple[TemporaryFile, Layout]:
    """Convert a JSON Lines or Parquet file to a CSV without a header.

    Raises:
        InputError: the file is damaged or has no column of paths.
    """
    write = CONVERTERS[suffix]
    return _convert(str(path), path_column, lambda file: write(path, file))


def convert_frame(frame: DataFrame, path_column: str) -> tuple[TemporaryFile, Layout]:
    """Convert a DataFrame to a CSV without a header. A named index becomes a column.

    Raises:
        InputError: there is no column of paths.
    """
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()

    def write(file: IO[str]) -> list[str]:
        _write_frame(frame, file)
        return [str(column) for column in frame.columns]

    return _convert("the DataFrame", path_column, write)


def _convert(name: str, path_column: str, write: Callable[[IO[str]], list[str]]) -> tuple[TemporaryFile, Layout]:
    """Lets `write` fill a temporary CSV; it returns the columns."""
    table = TemporaryFile(name)
    with open(table, "w", encoding="utf-8", newline="") as file:
        try:
            columns = list(map(clean_name, write(file)))
        except UnicodeEncodeError as error:
            raise InputError(f"{name}: {shown(ascii(error.object))} is not valid Unicode") from error
    found = find_path_column(name, {"": columns}, path_column)[1]
    return table, Layout("utf-8", ",", [PATH if column == found else column for column in columns], 0, found)


def _write_json_lines(path: os.PathLike[str], file: IO[str]) -> list[str]:
    columns: dict[str, None] = {}
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    done = 0
    try:
        with open(path, encoding="utf-8-sig") as lines:
            for done, line in enumerate(lines):  # noqa: B007 - the number of rows before a mistake
                record = json.loads(line) if line.strip() else {}
                columns |= dict.fromkeys(record)
                writer.writerow([_cell(record.get(column)) for column in columns] or [""])
    except (ValueError, TypeError, AttributeError) as error:  # UnicodeDecodeError is a ValueError
        raise InputError(f"{path}, row {done + 1}: not a JSON object in UTF-8 ({error})") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    return list(columns)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _write_parquet(path: os.PathLike[str], file: IO[str]) -> list[str]:
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            columns = [name for name in table.schema_arrow.names if not _INDEX.fullmatch(name)]
            for batch in table.iter_batches(_BATCH_ROWS, columns=columns):
                # Arrow's own types: with NumPy's, an integer column with gaps would become 1.0, 2.0.
                _write_frame(batch.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True), file)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a Parquet file that can be read: {' '.join(str(error).split())}") from error
    return columns


def _write_frame(frame: DataFrame, file: IO[str]) -> None:
    frame.to_csv(file, header=False, index=False, quoting=csv.QUOTE_ALL)


CONVERTERS = {".jsonl": _write_json_lines, ".parquet": _write_parquet}
