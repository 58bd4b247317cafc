"""Convert images to smaller ones in processes of their own: a slow or hostile file is stopped with its process.

A thread that decodes cannot be stopped. The limits by format (`cost.py`) refuse files that are known to be slow; the
limits on time and memory here stop all others.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import TooLarge, UnreadableImage
from .fit import Fit, as_fit
from .worker import LARGEST, Encoded, read_parts, write_parts

# Seconds of CPU time, so that a busy machine refuses no good image. With all overhead, a bomb ends within ten seconds.
SECONDS, MEMORY = 9.0, 2**30  # bytes
# Limits for background work. On one core 12 megapixels of lossless JPEG 2000 take five seconds, and 64 are allowed.
PATIENT_SECONDS, PATIENT_MEMORY = 60.0, 2**31
# Limit on wall-clock time, as a multiple of that on CPU time. Windows cannot end a process after some CPU time.
_ON_THE_CLOCK = 6 if hasattr(signal, "setitimer") else 1
_COMPUTED_TOO_LONG = -getattr(signal, "SIGPROF", 0)
_CODE = "from pipelines.images.worker import work; work(%d)"


class Converter:
    """Decodes and encodes images in a few processes, which start on demand. Threads can share it.

    Args:
        processes: maximum number of images decoded at the same time.
        seconds: CPU time that one image may take; its wall-clock time may be `_ON_THE_CLOCK` times as long.
        memory: bytes that one process may take.
        only_safe: see `decode`.
    """

    def __init__(
        self, processes: int = 2, seconds: float = SECONDS, memory: int = MEMORY, only_safe: bool = False
    ) -> None:
        self._seconds, self._memory, self._only_safe = seconds, memory, only_safe
        self._places, self._idle = threading.BoundedSemaphore(processes), deque[_Process]()
        atexit.register(self.close)

    def __call__(
        self, data: bytes, format_name: str, box: tuple[int, int] = LARGEST, *, size: int | Fit | None = None,
        exact: bool = False, edge: int | None = None,
    ) -> Encoded:  # fmt: skip
        """Decode an image and encode it again.

        Args:
            format_name: PNG, JPEG, WEBP or PPM.
            box: maximum width and height in pixels, to which the image is shrunk.
            size, exact, edge: see `decode`.

        Raises:
            UnreadableImage: with the reason; also if the image takes too much time or memory.
        """
        fit = None if size is None else as_fit(size)
        how = {"exact": exact, "edge": edge, "only_safe": self._only_safe}
        options = {"format_name": format_name, "box": box, "fit": fit, "how": how, "seconds": self._seconds}
        with self._process() as process:
            return Encoded(process.convert(data, options), f"image/{format_name.lower()}")

    def warm_up(self) -> None:
        """Start a process, so that the first image does not wait for it."""
        with self._process():
            pass

    def close(self) -> None:
        """End all idle processes. The next image starts one again."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().end()

    @contextlib.contextmanager
    def _process(self) -> Iterator[_Process]:
        """Lend one process to the body: an idle one if there is any, else a new one."""
        with self._places:
            try:
                process = self._idle.pop()
            except IndexError:
                process = _Process(self._memory)
            try:
                yield process
            except _Ended as error:
                raise UnreadableImage(str(error)) from None
            except BaseException:
                self._idle.append(process)
                raise
            self._idle.append(process)


class _Ended(Exception):
    """The process ended while it converted an image."""


class _Process:
    """One process that converts images until it is ended, or its input is closed."""

    def __init__(self, memory: int) -> None:
        roots = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = {"PYTHONPATH": os.pathsep.join(filter(None, roots)), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE % memory], env={**os.environ, **environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        if read_parts(self._output) is None:
            self.end()
            raise UnreadableImage("the process that decodes images cannot be started")

    def convert(self, data: bytes, options: dict[str, Any]) -> bytes:
        """Return the encoded image.

        Raises:
            UnreadableImage: with the reason.
            _Ended: there was no answer in time, or none at all.
        """
        late = threading.Event()

        def kill() -> None:
            late.set()
            self._process.kill()

        seconds = options["seconds"]  # of CPU time, see `_end_after`
        timer = threading.Timer(seconds * _ON_THE_CLOCK, kill)
        timer.start()
        try:
            write_parts(self._input, json.dumps(options).encode(), data)
            answer = read_parts(self._output)
        except OSError:
            answer = None
        finally:
            timer.cancel()
        if answer is None or late.is_set():
            too_long = self.end() == _COMPUTED_TOO_LONG or late.is_set()
            raise _Ended(f"it takes more than {seconds:g} s to decode" if too_long else "no decoder survives it")
        reason, encoded = answer
        if reason:
            kind, _, text = reason.decode().partition(" ")
            raise (TooLarge if kind == TooLarge.__name__ else UnreadableImage)(text)
        return encoded

    def end(self) -> int:
        """End the process; return its exit status."""
        self._process.kill()
        for end in (self._input, self._output):
            with contextlib.suppress(OSError):
                end.close()
        return self._process.wait()
