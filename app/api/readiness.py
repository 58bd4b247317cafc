"""Check in the background whether the collection can be searched, so that a readiness probe costs nothing."""

from __future__ import annotations

import logging
import math
import threading
import time

from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from pipelines.errors import (
    CollectionNotFound,
    ModelMismatch,
    ModelUnavailable,
    SearchError,
    StoreLocked,
    StoreUnavailable,
)

from ..library import Library
from ..problems import kind_of

_EVERY_SECONDS = 0.5
# Seconds after which an answer is too old. Longer than a check takes when a server does not answer.
_OLD_SECONDS = 3.0
# The reasons that a probe reports. Error messages contain paths and addresses, and a probe needs no password.
_REASONS: dict[type[SearchError], str] = {
    CollectionNotFound: "there is no collection, or it is empty",
    ModelMismatch: "another model made the collection",
    StoreLocked: "another process has the collection open",
    StoreUnavailable: "Milvus does not answer, or is loading the collection",
    ModelUnavailable: "the model server does not answer, or does not have the model",
}
_OTHER_REASON = "no search is possible"

log = logging.getLogger(__name__)


class Readiness:
    """The answer of `/readyz`, at most three seconds old."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._one = CapacityLimiter(1)
        self._reason, self._key, self._asked = "", "", -math.inf

    async def reason(self) -> tuple[str, str]:
        """Return why a search would fail ('' if it would not), and the key of the page's text for that."""
        if self._is_old:
            await run_sync(self._ask_if_old, limiter=self._one)
        return self._reason, self._key

    def watch(self, stop: threading.Event) -> None:
        """Check twice a second until `stop` is set. Leaves an unopened database file alone: an insert may need it."""
        while not stop.wait(_EVERY_SECONDS):
            if self._library.is_open:
                self._ask()

    @property
    def _is_old(self) -> bool:
        return time.monotonic() - self._asked > _OLD_SECONDS

    def _ask_if_old(self) -> None:
        if self._is_old:  # otherwise an earlier probe has checked in the meantime
            self._ask()

    def _ask(self) -> None:
        reason = key = ""
        try:
            self._library.searcher().probe()
        except SearchError as error:
            key = kind_of(error).key
            reason = next((text for kind, text in _REASONS.items() if isinstance(error, kind)), _OTHER_REASON)
            if reason != self._reason:
                log.warning("not ready: %s", error)
        except Exception:  # a bug; it must not end the thread of `watch`
            reason = _OTHER_REASON
            log.exception("not ready")
        self._reason, self._key, self._asked = reason, key, time.monotonic()
