"""Proxies in front of the page: whose word about a client's address, host and scheme counts."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.errors import InputError

_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix",
            "x-forwarded-proto", "x-forwarded-server", "x-real-ip")  # fmt: skip
# Stands for a client in the place of a proxy that does not name one: its limits are those of many people.
UNNAMED = "a proxy's clients"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedProxies:
    """Takes client, host and scheme of a request from X-Forwarded-For, -Host and -Proto of a trusted proxy.

    From anybody else these headers are removed, so that nothing behind reads them. Of the addresses in X-Forwarded-For
    the last one that is no trusted proxy counts: those before it are what the client wrote.

    """

    def __init__(self, app: ASGIApp, networks: Sequence[Network]) -> None:
        self._app, self._networks = app, networks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = self._rewritten(scope)
        await self._app(scope, receive, send)

    def _rewritten(self, scope: Scope) -> Scope:
        given = Headers(scope=scope)
        kept = [(name, value) for name, value in scope["headers"] if name.decode("latin-1").lower() not in _HEADERS]
        scope = {**scope, "headers": kept}
        client = scope.get("client")
        if client is None or not self._trusts(client[0]):
            return scope
        names = [name.strip() for name in ",".join(given.getlist("x-forwarded-for")).split(",")]
        named = [name for name in names if name and not self._trusts(name)]
        scope["client"] = (named[-1] if named else UNNAMED, 0)
        if (scheme := given.get("x-forwarded-proto", "")) in ("http", "https"):
            scope["scheme"] = scheme
        if host := given.get("x-forwarded-host"):
            MutableHeaders(scope=scope)["host"] = host
        return scope

    def _trusts(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address.strip("[]"))
        except ValueError:
            return False
        ip = getattr(ip, "ipv4_mapped", None) or ip
        return any(ip.version == network.version and ip in network for network in self._networks)


def read_network(text: str) -> Network:
    """Return the addresses of a proxy: `10.0.0.1` or `10.0.0.0/8`.

    Raises:
        InputError: the text is neither.
    """
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InputError(f"--trusted-proxy is an address or a network (10.0.0.1, 10.0.0.0/8), not '{text}'") from None
