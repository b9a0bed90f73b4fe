"""What stands between the network and the explorer: who may ask, how, and how much.

A page of another site, open in the same browser, must get nothing from a server on this machine. Its requests have an `Origin`
that is not ours, or, where it had its own name point at this machine (DNS rebinding), a `Host` that is not; and it cannot send
JSON without asking first, which is refused. The size of a body is bounded while it arrives, said or not.
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any

from amortized.explore.answering import refusal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::", "")
BODY_SECONDS = 10
"""For the whole of a request's body to arrive."""

HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none';"
        b" frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: Of HTTP.
        reason: One sentence.
    """

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True)
class Guard:
    """An application of ASGI behind which another one answers only what may be asked.

    Attributes:
        app: The other one.
        host: What the server is bound to.
        most_bytes: The size of a body.
    """

    app: Any
    host: str
    most_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
            await send(message)

        try:
            self._check(scope)
            body = await self._body(receive)
        except Refused as refused:
            await refusal(refused.status, refused.reason, close=True)(scope, receive, send_with_headers)
            return
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive_body() -> MutableMapping[str, Any]:
            return next(messages, None) or await receive()

        await self.app(scope, receive_body, send_with_headers)

    def _check(self, scope: Scope) -> None:
        headers = _Headers(scope["headers"])
        host = headers.only("host")
        if not host or not knows(host, self.host):
            raise Refused(421, "This is not the host that the server answers for; open the address that it printed.")
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise Refused(405, "Only GET, HEAD and POST are answered here.")
        if scope["method"] != "POST":
            return
        origin, site = headers.only("origin"), headers.only("sec-fetch-site")
        if origin is not None and origin != f"http://{host}" or site not in (None, "same-origin", "none"):
            raise Refused(403, "Another site's page may not ask here.")
        kind = (headers.only("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Refused(415, "The body must be JSON, with the content type application/json.")
        length = headers.only("content-length")
        if length is not None and (not re.fullmatch(r"[0-9]{1,18}", length) or int(length) > self.most_bytes):
            raise Refused(413, f"The body may have at most {self.most_bytes:,} bytes.")

    async def _body(self, receive: Receive) -> bytes:
        parts, size, more = [], 0, True
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refused(400, "The request ended before its body did.")
                    part, more = message.get("body", b""), message.get("more_body", False)
                    parts.append(part)
                    size += len(part)
                    if size > self.most_bytes:
                        raise Refused(413, f"The body may have at most {self.most_bytes:,} bytes.")
        except TimeoutError:
            raise Refused(408, f"The body did not arrive within {BODY_SECONDS} seconds.") from None
        return b"".join(parts)


def knows(host: str, bound: str) -> bool:
    """Whether a server bound to `bound` answers for the header `Host: host`.

    It does for the names of this machine's loopback and for what it is bound to; bound to all addresses, for any address, which
    no one can have pointed here, and for this machine's name.

    Example:
        >>> knows("localhost:8765", "127.0.0.1"), knows("evil.example:8765", "127.0.0.1"), knows("192.0.2.7", "0.0.0.0")
        (True, False, True)
    """
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?", host)
    if match is None:
        return False
    name = match[1].strip("[]").lower()
    if name in (*LOOPBACK, bound.lower()):
        return True
    return bound in EVERYWHERE and (_is_address(name) or name in (socket.gethostname().lower(), socket.getfqdn().lower()))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class _Headers:
    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]):
        self.pairs = list(pairs)

    def only(self, name: str) -> str | None:
        """The header of a name; None where there is none. Of two the meaning is in doubt."""
        found = [value for key, value in self.pairs if key.lower() == name.encode()]
        if len(found) > 1:
            raise Refused(400, f"The request has more than one header '{name}'.")
        return found[0].decode("latin-1") if found else None
