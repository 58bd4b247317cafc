"""Rate-limits the log of the page to one line a minute for each fault, so that no client can fill it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_SECONDS = 60.0
_KEPT = 1_000  # faults


class OnceAMinute(logging.Filter):
    """Lets a fault through once a minute. The next line about the same fault says how many lines were left out.

    Two faults are the same if the same line of code logs them with the same type of exception.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[object, tuple[float, int]] = {}  # time of the last line, and number of lines left out since

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        kind = record.exc_info[0] if record.exc_info else None
        fault = (record.name, record.lineno, str(record.msg).partition("\n")[0], kind)
        logged, left_out = self._seen.get(fault, (self._clock() - _SECONDS, 0))
        if self._clock() - logged < _SECONDS:
            self._seen[fault] = (logged, left_out + 1)
            return False
        if len(self._seen) >= _KEPT:
            self._seen.clear()
        self._seen[fault] = (self._clock(), 0)
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out:,} more of this kind)", None
        return True


def bound_log() -> None:
    """Rate-limit the logs of uvicorn, asyncio and the application. Call it after uvicorn has configured its log."""
    once = OnceAMinute()
    handlers = [*logging.getLogger("uvicorn").handlers, *logging.getLogger().handlers]
    for handler in handlers + ([logging.lastResort] if logging.lastResort else []):
        handler.addFilter(once)
