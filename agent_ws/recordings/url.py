"""The address of a server, as people give it.

The one rule: no credential in it, because it is shown.
"""

import ssl
from urllib.parse import urlsplit

from msgspec import Struct

SCHEMES = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class Url(Struct, frozen=True):
    """Where a server is."""

    host: str
    port: int
    tls: bool = False

    @classmethod
    def parse(cls, text: str) -> "Url":
        """`http://127.0.0.1:8000`, or with `https`, `ws`, `wss`. Raises `ValueError`."""
        parts = urlsplit(text if "://" in text else f"http://{text}")
        plain = parts.path in ("", "/", "/ws") and not (parts.query or parts.fragment or "@" in parts.netloc)
        if parts.scheme not in SCHEMES or not parts.hostname or not plain:
            raise ValueError(f"expected the address of a server (http://127.0.0.1:8000), got {text!r}")
        return cls(parts.hostname, parts.port or SCHEMES[parts.scheme], tls=SCHEMES[parts.scheme] == SCHEMES["https"])

    @property
    def netloc(self) -> str:
        """As the `Host` header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == SCHEMES["https" if self.tls else "http"] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.netloc}"

    @property
    def websocket(self) -> str:
        """Where its WebSocket is."""
        return f"ws{'s' if self.tls else ''}://{self.netloc}/ws"

    @property
    def context(self) -> ssl.SSLContext | None:
        """What its certificate is checked with."""
        return ssl.create_default_context() if self.tls else None
