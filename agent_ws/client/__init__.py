"""The Python client: live answers, a Stop that stops, exact resume.

async with agent_ws.connect("http://127.0.0.1:8000") as client:
    async for event in client.answer("Hello agent"):
        if isinstance(event, agent_ws.Content):
            print(event.data, end="", flush=True)

`core.py` decides, `websocket.py` carries, `client.py` puts them together.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import random as chance

from ..frames import Hello, Say
from ..settings import WhenBusy
from ..streams import ChunkMode
from .actions import (
    Connecting,
    Decided,
    Ended,
    Notice,
    Open,
    Reset,
    Resting,
    Waiting,
    Withdrawn,
)
from .answer import Unanswered
from .client import Client, LogEvent, Sent, checked
from .codes import Closed
from .core import Options
from .line import Dial
from .websocket import WebSocket, address

__all__ = [
    "Client",
    "Closed",
    "Connecting",
    "Decided",
    "Ended",
    "LogEvent",
    "Notice",
    "Open",
    "Reset",
    "Resting",
    "Sent",
    "Unanswered",
    "Waiting",
    "Withdrawn",
    "connect",
]


def connect(  # noqa: PLR0913 - each is an option that somebody sets by its name
    url: str,
    *,
    bearer: str | None = None,
    headers: Mapping[str, str] | None = None,
    session: str | None = None,
    token: str | None = None,
    outbox: Sequence[Say] = (),
    when_busy: WhenBusy | None = None,
    chunk: ChunkMode | None = None,
    buffer_chars: int | None = None,
    buffer_ms: int | None = None,
    patience: float = 0.0,
    dial: Dial | None = None,
    random: Callable[[], float] = chance,
) -> Client:
    """Make a client of the server at `url` (`https://host/path`), to be entered with `async with`.

    bearer: a login's token. headers: whatever else lets one in, a cookie for example. session, token, outbox: what an
    earlier client of the session had (`client.session`, `client.token`, `client.pending`); its log comes from the
    start. when_busy, chunk, buffer_chars, buffer_ms: as in `hello`, see PROTOCOL.md. patience: seconds for which a
    server that isn't there is tried; 0: once. dial, random: in place of a WebSocket and of chance.

    Raises `ValueError` for a wrong address or option.
    """
    checked(Hello(session, token, chunk=chunk, buffer_chars=buffer_chars, buffer_ms=buffer_ms, when_busy=when_busy))
    options = Options(
        session=session,
        token=token,
        outbox=tuple(outbox),
        when_busy=when_busy,
        chunk=chunk,
        buffer_chars=buffer_chars,
        buffer_ms=buffer_ms,
        wires=("ws",),
    )
    fields = dict(headers or {}) | ({"Authorization": f"Bearer {bearer}"} if bearer is not None else {})
    if not all(value.isascii() and value.isprintable() for value in fields.values()):
        raise ValueError("expected `bearer` and `headers` of printable ASCII, got something else")  # and no secret here
    return Client(dial or partial(WebSocket, address(url), fields), options, random, patience)
