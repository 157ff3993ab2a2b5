"""What is put under load: an address, and how to ask it.

The one rule: an address is understood before anything begins, or refused with what was expected.
"""

import ipaddress
import ssl
from urllib.parse import urlsplit

from msgspec import Struct

SCHEMES = {"http": False, "ws": False, "https": True, "wss": True}
"""Whether each is by TLS."""


class Target(Struct, frozen=True):
    """A server. `wire` is how its answers come: `agent_ws`, or one of a peer's."""

    host: str
    port: int
    path: str = "/ws"
    tls: bool = False
    wire: str = "agent_ws"
    token: str | None = None
    """A bearer token, where the server wants a login."""

    @property
    def authority(self) -> str:
        """Host and port, as a request names them."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Whether it is on this machine, by its name."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def context(self) -> ssl.SSLContext | None:
        """For TLS."""
        return ssl.create_default_context() if self.tls else None

    def handshake(self) -> bytes:
        """The request that opens a WebSocket."""
        login = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        return (
            f"GET {self.path} HTTP/1.1\r\nHost: {self.authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            # The key proves to a client that it was no cache that answered: here nobody asks.
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{login}\r\n"
        ).encode()


def target(url: str, token: str | None = None) -> Target:
    """The server at `url`: of its page, or of its WebSocket. Raises `ValueError`."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme not in SCHEMES or not parts.hostname or port == 0 or parts.username or parts.query:
        raise ValueError(f"expected the URL of a server (http://127.0.0.1:8000), got {url!r}")
    if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
        raise ValueError("expected a bearer token of printable ASCII without blanks, got one that is not")
    tls = SCHEMES[parts.scheme]
    path = parts.path.rstrip("/")
    return Target(
        host=parts.hostname,
        port=port or (443 if tls else 80),
        path=path if path.endswith("/ws") else f"{path}/ws",
        tls=tls,
        token=token,
    )
