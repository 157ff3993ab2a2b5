"""The client's side of each wire that is put under load.

The one rule: what is sent is bytes that were made in advance, as far as they can be.
"""

import json
from typing import Protocol
from urllib.parse import quote

import msgspec
from msgspec import Struct

from .link import EventsLink, Link, Listener, WebSocketLink
from .target import Target


class Frame(Struct, frozen=True, gc=False):
    """What a client has to know of a frame that is no text."""

    type: str
    seq: int = 0
    run: str | None = None
    session: str | None = None
    token: str | None = None
    epoch: str | None = None
    after: int = 0
    resumed: bool = False
    id: str | None = None
    code: str = ""
    chars: int | None = None
    upstream_closed: bool | None = None


decode = msgspec.json.Decoder(Frame).decode
TEXT = b'{"type":"content"'
"""How text begins, on every wire here: what begins so is not looked at any closer."""


class Place(Struct):
    """Where a client is in its session."""

    session: str = ""
    token: str | None = None
    epoch: str = ""
    seq: int = 0


class Wire(Protocol):
    """How to talk to one kind of server."""

    @property
    def greets(self) -> bool:
        """The first frame is a `hello`, and it is answered."""
        ...

    @property
    def over(self) -> frozenset[str]:
        """The types of frames after which the next message may be said."""
        ...

    @property
    def stops(self) -> bool:
        """It can be told to stop; else the connection is given up."""
        ...

    def link(self, target: Target, listener: Listener) -> Link:
        """A connection that is still to be opened."""
        ...

    def hello(self, place: Place | None) -> bytes:
        """Begin a session, or come back to one."""
        ...

    def say(self, text: str, name: str) -> bytes:
        """A message, with the client's name for it."""
        ...

    def stop(self, run: str | None) -> bytes:
        """A Stop."""
        ...


class Ours:
    """agent_ws."""

    greets = True
    over = frozenset({"settled", "rejected"})
    stops = True

    def link(self, target: Target, listener: Listener) -> Link:
        return WebSocketLink(target, listener)

    def hello(self, place: Place | None) -> bytes:
        if place is None:
            return b'{"type":"hello"}'
        back = {"session": place.session, "token": place.token, "epoch": place.epoch, "after": place.seq}
        return json.dumps({"type": "hello"} | {key: value for key, value in back.items() if value is not None}).encode()

    def say(self, text: str, name: str) -> bytes:
        return json.dumps({"type": "message", "data": text, "id": name}).encode()

    def stop(self, run: str | None) -> bytes:
        return json.dumps({"type": "interrupt"} | ({"run": run} if run else {})).encode()


class Plain(Ours):
    """A WebSocket that takes a message and a Stop, and knows nothing else."""

    greets = False
    over = frozenset({"done", "interrupted"})

    def say(self, text: str, name: str) -> bytes:
        del name
        return json.dumps({"message": text}).encode()


class Events(Plain):
    """An event stream by HTTP for each answer."""

    over = frozenset({"done"})
    stops = False

    def link(self, target: Target, listener: Listener) -> Link:
        return EventsLink(target, listener)

    def say(self, text: str, name: str) -> bytes:
        del name
        return f"GET /stream?work={quote(text)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


WIRES: dict[str, Wire] = {"agent_ws": Ours(), "plain": Plain(), "events": Events()}
