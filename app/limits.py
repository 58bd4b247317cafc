"""How much is done at once, and how often one client may ask."""

from __future__ import annotations

import ipaddress
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio.to_thread import run_sync
from prometheus_client import Gauge
from starlette.types import ASGIApp, Receive, Scope, Send

from .api.errors import Busy, refuse

T = TypeVar("T")

RUNNING = 64  # searches in threads: most of them wait for the model or for Milvus, together
WAITING = 256
# A decoded image can take 384 MB: so many at a time, whatever is uploaded.
IMAGES = 2
# What costs a model call, a search or disk space.
_COSTLY = re.compile(r"/api/(search|similar/[^/]*)|/gradio_api/(queue/join|upload)/?")
_CLIENTS = 10_000


class Slots:
    """Runs searches in threads, RUNNING at a time; the rest wait, and beyond WAITING they are refused."""

    def __init__(self, gauge: Gauge, running: int = RUNNING, waiting: int = WAITING) -> None:
        self._all, self._heavy = anyio.CapacityLimiter(running), anyio.CapacityLimiter(IMAGES)
        self._most = waiting
        limiters = (self._all, self._heavy)
        gauge.labels("waiting").set_function(lambda: sum(limiter.statistics().tasks_waiting for limiter in limiters))
        gauge.labels("running").set_function(lambda: sum(limiter.borrowed_tokens for limiter in limiters))

    async def run(self, function: Callable[[], T], with_image: bool = False) -> T:
        """The function's result.

        Raises:
            Busy: too many wait already.
        """
        limiter = self._heavy if with_image else self._all
        if limiter.statistics().tasks_waiting >= self._most:
            raise Busy("too many searches wait already; try again in a few seconds")
        return await run_sync(function, limiter=limiter)


class Buckets:
    """A token bucket for each client: `rate` tokens a second, at most `burst` saved up. Thread-safe.

    Only the last 10,000 clients are remembered: a flood of addresses costs no memory.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, client: str, tokens: float = 1.0) -> float:
        """Takes tokens and returns 0; where there are too few takes none, and returns the seconds until there are.

        With `tokens=0` this only looks: above 0 where not one token is left.
        """
        with self._lock:
            now = self._clock()
            left, seen = self._clients.pop(client, (self._burst, now))
            left = min(self._burst, left + (now - seen) * self._rate)
            missing = max(tokens, 1.0) - left
            if missing <= 0:
                left -= tokens
            self._clients[client] = (left, now)
            if len(self._clients) > _CLIENTS:
                self._clients.popitem(last=False)
            return max(0.0, missing) / self._rate


class RateLimit:
    """Refuses a client's searches and uploads beyond `rate` a second (and a burst of twice that) with 429."""

    def __init__(self, app: ASGIApp, rate: float) -> None:
        self._app, self._buckets = app, Buckets(rate, 2 * rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _COSTLY.fullmatch(scope["path"]):
            seconds = self._buckets.take(client_of(scope))
            if seconds:
                return await refuse(scope, 429, "Too many requests; wait a moment.", retry_after(seconds))(
                    scope, receive, send
                )
        await self._app(scope, receive, send)


def retry_after(seconds: float) -> dict[str, str]:
    """The header that says when to come back, in whole seconds."""
    return {"Retry-After": str(int(seconds) + 1)}


def client_of(scope: Scope) -> str:
    """Who asks: the address, of IPv6 the network, which one person has whole."""
    host = (scope.get("client") or ("", 0))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)
