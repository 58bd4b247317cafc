"""How a training run talks to its caller."""

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
    """How a run talks to its caller: progress, lines, and whether Ctrl-C was pressed."""

    on_progress: OnProgress
    say: Say
    is_stopped: Callable[[], bool]


@contextmanager
def stop_on_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether Ctrl-C was pressed: a step is never cut. A second Ctrl-C raises."""
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
