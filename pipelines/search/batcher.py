"""Run calls that several threads make at the same time as one batch."""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ..errors import ModelUnavailable, StoreUnavailable

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Runs a function on the items of all waiting callers, one batch at a time. Never waits for a batch to fill.

    The first caller runs its own item at once. Callers that arrive in the meantime wait, and the first of them then
    runs all waiting items. A single caller is not delayed, and batches grow under load.

    Args:
        run: takes a list of items and returns one result for each, in the same order. An error is raised for every
            caller in the batch; StoreUnavailable and ModelUnavailable are raised for all waiting callers, too.
        largest: maximum number of items in a batch.
    """

    def __init__(self, run: Callable[[list[T]], Sequence[R]], largest: int = 64) -> None:
        self._run, self._largest = run, largest
        self._lock = threading.Lock()
        self._waiting: deque[_Call[T, R]] = deque()
        self._busy = False

    def __call__(self, item: T) -> R:
        """Return the result for this item."""
        mine: _Call[T, R] = _Call(item)
        with self._lock:
            self._waiting.append(mine)
            leads, self._busy = not self._busy, True
        if not leads:
            mine.turn.wait()
        if not mine.done:
            self._lead()
        return mine.result()

    def _lead(self) -> None:
        with self._lock:
            batch = [self._waiting.popleft() for _ in range(min(self._largest, len(self._waiting)))]
        try:
            results = self._run([call.item for call in batch])
            for call, result in zip(batch, results, strict=True):
                call.value = result
        except BaseException as error:
            if isinstance(error, (StoreUnavailable, ModelUnavailable)):
                with self._lock:
                    batch += self._waiting
                    self._waiting.clear()
            for call in batch:
                call.error = error
        with self._lock:
            for call in batch:
                call.done = True
                call.turn.set()
            if self._waiting:
                self._waiting[0].turn.set()  # this call is not done, so it leads the next batch
            else:
                self._busy = False


class _Call(Generic[T, R]):
    """One caller's item and its result or error."""

    def __init__(self, item: T) -> None:
        self.item = item
        self.turn = threading.Event()
        self.done = False
        self.value: R | None = None
        self.error: BaseException | None = None

    def result(self) -> R:
        if self.error is not None:
            raise copy.copy(self.error) from self.error  # raising changes an exception, so each thread needs a copy
        return self.value  # type: ignore[return-value]
