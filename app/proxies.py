"""Decide which proxies are trusted to report a client's address, host and scheme."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.errors import InputError

_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix",
            "x-forwarded-proto", "x-forwarded-server", "x-real-ip")  # fmt: skip
# The client's address if a trusted proxy does not name one. Its rate limits are those of several clients.
UNNAMED = "a proxy's clients"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedProxies:
    """Takes client, host and scheme of a request from X-Forwarded-For, -Host and -Proto of a trusted proxy.

    These headers are removed from every request, so that nothing else reads them. The client is the last address in
    X-Forwarded-For that is not a trusted proxy, because the client itself may have written the ones before it. The port
    is ignored, because a client can use thousands. `scope["forwarded"]` says whether a request may have passed a proxy.

    Args:
        has_names: whether the page has other host names than its own address. Without trusted proxies, every request
            then counts as forwarded.
    """

    def __init__(self, app: ASGIApp, networks: Sequence[Network], has_names: bool = False) -> None:
        self._app, self._networks, self._is_behind_another = app, networks, has_names and not networks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = self._rewritten(scope)
        await self._app(scope, receive, send)

    def _rewritten(self, scope: Scope) -> Scope:
        given = Headers(scope=scope)
        kept = [(name, value) for name, value in scope["headers"] if name.decode("latin-1").lower() not in _HEADERS]
        # HTTP/1.0 is a sign of a proxy: browsers have used 1.1 since 1997, but nginx by default sends 1.0 upstream.
        is_signed = len(kept) < len(scope["headers"]) or "via" in given or scope.get("http_version") == "1.0"
        scope = {**scope, "headers": kept, "forwarded": is_signed or self._is_behind_another}
        client = scope.get("client")
        if client is None or not self._trusts(client[0]):
            return scope
        names = [name.strip() for name in ",".join(given.getlist("x-forwarded-for")).split(",")]
        named = [name for name in names if name and not self._trusts(name)]
        address = _ip_of(named[-1]) if named else None
        scope["client"] = (str(address) if address else UNNAMED, 0)
        if (scheme := given.get("x-forwarded-proto", "")) in ("http", "https"):
            scope["scheme"] = scheme
        if host := given.get("x-forwarded-host"):
            MutableHeaders(scope=scope)["host"] = host
        return scope

    def _trusts(self, address: str) -> bool:
        ip = _ip_of(address)
        return ip is not None and any(ip.version == network.version and ip in network for network in self._networks)


def client_of(scope: Scope) -> str:
    """Return the client's IPv4 address, or its IPv6 network of 64 bits, which usually belongs to one client."""
    host = (scope.get("client") or ("", 0))[0]
    address = _ip_of(host)
    if address is None:
        return str(host)
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)


def is_from_this_machine(scope: Scope) -> bool:
    """Return whether a request comes directly from a browser on this machine, to `localhost` or a loopback address."""
    headers, client = Headers(scope=scope), scope.get("client")
    if client is None or scope.get("forwarded", True):
        return False
    host = f"//{headers.get('host', '')}"
    try:
        names = [urlsplit(address).hostname for address in (host, headers.get("origin", host))]
    except ValueError:
        return False
    addresses = [_ip_of("127.0.0.1" if name == "localhost" else name or "") for name in (client[0], *names)]
    return all(address is not None and address.is_loopback for address in addresses)


def _ip_of(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address in `1.2.3.4`, `1.2.3.4:5678`, `::1` or `[::1]:99`; None if there is none.

    A dual-stack socket reports 1.2.3.4 as `::ffff:1.2.3.4`.
    """
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip


def read_network(text: str) -> Network:
    """Parse the address or network of a proxy, such as `10.0.0.1` or `10.0.0.0/8`.

    Raises:
        InputError: the text is neither.
    """
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InputError(f"--trusted-proxy is an address or a network (10.0.0.1, 10.0.0.0/8), not '{text}'") from None
