"""Importing pymilvus and Milvus Lite, without the packages that this program's calls of them do not need."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from ..deferred import deferred
from . import lite_fast_path

if TYPE_CHECKING:
    from pymilvus import MilvusClient

# pandas for tables as rows, requests for clusters of several regions: together half of the import.
_FOR_OTHER_CALLS = {
    "pandas": ("DataFrame",),
    "pandas.api.types": ("infer_dtype", "is_array_like", "is_float", "is_list_like", "is_scalar"),
    "requests": (),
}


@cache
def import_client() -> type[MilvusClient]:
    """Import pymilvus, and mend what is slow or loud in it."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C++ part writes to stderr on its own
    with deferred(_FOR_OTHER_CALLS):
        import pymilvus
    _remember_types()
    _leave_scipy_out()
    # pymilvus prints a traceback for each failed call, and gRPC one for each call that Milvus Lite does not have.
    # `classify` turns these failures into errors.
    for name in ("pymilvus", "milvus_lite", "grpc._server"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    client: type[MilvusClient] = pymilvus.MilvusClient
    return client


def import_lite() -> None:
    """Import Milvus Lite with its fast path; faiss with the first index that is one of faiss."""
    with deferred({"faiss": ()}):
        lite_fast_path.apply()
        importlib.import_module("milvus_lite.adapter.grpc.server")


@contextmanager
def without_pandas() -> Iterator[None]:
    """Let nothing in the body import pandas. pyarrow would do so to ask whether it is given tables of pandas."""
    import_client()  # which has a stand-in for it
    if "pandas" in sys.modules:
        yield
        return
    import pyarrow

    sys.modules["pandas"] = None  # type: ignore[assignment]
    try:
        # Its only try in Python, where it asks None for a version; its functions in C++ try again each time.
        with suppress(ImportError, AttributeError):
            pyarrow.array([])
        yield
    finally:
        del sys.modules["pandas"]


def _remember_types() -> None:
    """Look up each type of field once. pymilvus 3 does so for every value: a third of its time to write a row."""
    try:
        from pymilvus.client import type_info
    except ImportError:  # before 3.0
        return
    for name in ("get_type_info", "get_protobuf_slot", "is_byte_vector_type", "is_scalar_type"):
        if hasattr(type_info, name):
            setattr(type_info, name, lru_cache(getattr(type_info, name)))


def _leave_scipy_out() -> None:
    """Where nothing has imported SciPy, no vector is one of its sparse matrices. pymilvus would import it to ask."""
    from pymilvus.client.utils import SciPyHelper

    if not hasattr(SciPyHelper, "_init"):
        return

    def look(helper: Any) -> None:
        helper._matrix_available = helper._array_available = "scipy.sparse" in sys.modules

    SciPyHelper._init = classmethod(look)
