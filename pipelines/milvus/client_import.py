"""Import pymilvus and Milvus Lite without the packages that this program's calls do not need."""

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

# pandas is for rows in tables, requests for clusters of several regions: together they take half of the import time.
_FOR_OTHER_CALLS = {
    "pandas": ("DataFrame",),
    "pandas.api.types": ("infer_dtype", "is_array_like", "is_float", "is_list_like", "is_scalar"),
    "requests": (),
}


@cache
def import_client() -> type[MilvusClient]:
    """Import pymilvus without the packages that only other calls need, and silence its log and gRPC's."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the C++ part of gRPC writes to stderr directly
    with deferred(_FOR_OTHER_CALLS):
        import pymilvus
    _remember_types()
    _leave_scipy_out()
    # pymilvus logs a traceback for each failed call, and gRPC one for each call that Milvus Lite does not implement.
    # `classify` turns these failures into errors.
    for name in ("pymilvus", "milvus_lite", "grpc._server"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    client: type[MilvusClient] = pymilvus.MilvusClient
    return client


def import_lite() -> None:
    """Import Milvus Lite with its fast path. faiss is imported with the first faiss index."""
    with deferred({"faiss": ()}):
        lite_fast_path.apply()
        importlib.import_module("milvus_lite.adapter.grpc.server")


@contextmanager
def without_pandas() -> Iterator[None]:
    """Keep the body from importing pandas. pyarrow would import it to check whether its input is a pandas table."""
    import_client()  # first, because pymilvus needs the stand-in for pandas
    if "pandas" in sys.modules:
        yield
        return
    import pyarrow

    sys.modules["pandas"] = None  # type: ignore[assignment]
    try:
        # pyarrow imports pandas from Python only once, here, and fails on None. Its C++ functions try again each time.
        with suppress(ImportError, AttributeError):
            pyarrow.array([])
        yield
    finally:
        del sys.modules["pandas"]


def _remember_types() -> None:
    """Cache look-ups of field types. pymilvus 3 repeats them for every value: a third of its time to write a row."""
    try:
        from pymilvus.client import type_info
    except ImportError:  # before 3.0
        return
    for name in ("get_type_info", "get_protobuf_slot", "is_byte_vector_type", "is_scalar_type"):
        if hasattr(type_info, name):
            setattr(type_info, name, lru_cache(getattr(type_info, name)))


def _leave_scipy_out() -> None:
    """Keep pymilvus from importing SciPy to look for sparse matrices: without SciPy in memory there are none."""
    from pymilvus.client.utils import SciPyHelper

    if not hasattr(SciPyHelper, "_init"):
        return

    def look(helper: Any) -> None:
        helper._matrix_available = helper._array_available = "scipy.sparse" in sys.modules

    SciPyHelper._init = classmethod(look)
