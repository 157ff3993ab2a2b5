"""The client's side of each server's wire, as bytes made in advance.

The one rule: the generator must cost less than any server. Masks are zero, so a payload is sent as it is.
"""

import json
from urllib.parse import quote

from msgspec import Struct

from agent_ws.load.link import frame as framed


def frame(text: str) -> bytes:
    """A client's text frame, masked with zeros."""
    return framed(text.encode())


class Wire(Struct, frozen=True):
    """How to talk to one kind of server. What is awaited is looked for in a frame's bytes."""

    path: str = "/ws"
    framed: bool = True
    """WebSocket; else HTTP, where saying something is a request."""
    hello: str = ""
    """Sent first, where the server wants to be greeted."""
    ready: bytes = b""
    """What answers `hello`."""
    said: str = '{"message":%s}'
    interrupting: str = '{"type":"interrupt"}'
    started: bytes = b'"start"'
    interrupted: bytes = b'"interrupted"'
    over: bytes = b'"done"'
    """After it the next message may be said."""
    stopped: bytes = b'"interrupted"'
    """The same after an interrupt."""

    def handshake(self, port: int) -> bytes:
        """The request that opens the WebSocket."""
        return (
            f"GET {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()

    def say(self, work: str) -> bytes:
        """A message that asks for `work`."""
        if self.framed:
            return frame(self.said % json.dumps(work))
        return f"GET {self.path}?work={quote(work)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()

    def interrupt(self) -> bytes:
        """A Stop."""
        return frame(self.interrupting)


WIRES = {
    "plain": Wire(),
    "agent_ws": Wire(hello='{"type":"hello"}', ready=b'"session"', over=b'"settled"', stopped=b'"settled"'),
    "sse": Wire(path="/stream", framed=False),
    "socketio": Wire(
        path="/socket.io/?EIO=4&transport=websocket",
        hello="40",
        ready=b'40{"sid"',
        said='42["message",%s]',
        interrupting='42["interrupt"]',
    ),
}
