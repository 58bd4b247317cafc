"""Delay the import of packages that a library imports but seldom uses until they are first used."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_lock = threading.RLock()


class _StandIn(ModuleType):
    """Stands in for a package, and imports it as soon as one of its attributes is used."""

    _loaded: ModuleType | None = None

    def __getattr__(self, name: str) -> Any:
        if name == "__path__" and "." in self.__name__:  # `from a.b import c` looks it up
            raise AttributeError(name)
        return getattr(_load(self), name)


@contextmanager
def deferred(packages: Mapping[str, Sequence[str]]) -> Iterator[None]:
    """Make imports in the body find stand-ins for packages that nothing has imported before.

    A module that imports a stand-in keeps it. Later imports get the package itself.

    Args:
        packages: package → the names that the body takes from it without calling or inspecting them, such as imported
            functions and classes in annotations. If the body takes any other name, the package is imported.
    """
    with _lock:
        stand_ins = [_stand_in(name, functions) for name, functions in packages.items() if _is_absent(name)]
        sys.modules.update((stand_in.__name__, stand_in) for stand_in in stand_ins)
    try:
        yield
    finally:
        _remove(stand_ins)
        for stand_in in stand_ins:  # from now on its names are looked up in the package
            for name in packages[stand_in.__name__]:
                vars(stand_in).pop(name)


def _is_absent(name: str) -> bool:
    """Return whether a package is installed, and nothing has imported it."""
    first = name.partition(".")[0]
    return name not in sys.modules and (first in sys.modules or importlib.util.find_spec(first) is not None)


def _stand_in(name: str, functions: Sequence[str]) -> _StandIn:
    stand_in = _StandIn(name)
    vars(stand_in).update({one: _calling(stand_in, one) for one in functions})
    return stand_in


def _calling(stand_in: _StandIn, function: str) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        return getattr(_load(stand_in), function)(*arguments, **named)

    return call


def _load(stand_in: _StandIn) -> ModuleType:
    """Return the package itself. It is kept: looking through all modules takes 0.3 ms, and libraries ask each time."""
    if stand_in._loaded is None:
        first = stand_in.__name__.partition(".")[0]
        _remove(tuple(module for known, module in tuple(sys.modules.items()) if known.partition(".")[0] == first))
        stand_in._loaded = importlib.import_module(stand_in.__name__)
    return stand_in._loaded


def _remove(modules: Sequence[ModuleType]) -> None:
    with _lock:
        for module in modules:
            if type(module) is _StandIn and sys.modules.get(module.__name__) is module:
                del sys.modules[module.__name__]
