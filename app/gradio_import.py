"""Import Gradio without writing its stub files for editors, which take more than half of the import time."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def import_gradio() -> Any:
    """Return the module `gradio`."""
    with _no_stubs():
        import gradio
    return gradio


@contextmanager
def _no_stubs() -> Iterator[None]:
    """Make `gradio.component_meta` believe that no component comes from a file.

    For each component class, it parses the module and the `.pyi` file beside it, and rewrites the file if they differ.
    """
    find = inspect.getfile

    def find_others(object: Any) -> str:
        if type(object).__name__ == "ComponentMeta" or getattr(object, "__name__", "") == "BlocksEvents":
            raise OSError("no stub is written")
        return find(object)

    inspect.getfile = find_others
    try:
        yield
    finally:
        inspect.getfile = find
