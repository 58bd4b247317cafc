"""Callbacks from a training run to its caller, and the handling of Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .dataset import OnProgress

Say = Callable[[str], object]


@dataclass(frozen=True)
class Hooks:
    """Callbacks of a run: to report progress, to print a line, and to ask whether Ctrl-C was pressed."""

    on_progress: OnProgress
    say: Say
    is_stopped: Callable[[], bool]


@contextmanager
def stop_on_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether Ctrl-C was pressed, so that no step is cut. A second Ctrl-C raises."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return

    def press(number: int, frame: object) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
