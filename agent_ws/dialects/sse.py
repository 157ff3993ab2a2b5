"""Server-sent events (the HTML standard, "Server-sent events"), for a browser's `EventSource` and for readers of
`data:` lines.

Text is an unnamed event with the text as `content`, all else is named by its type, so `onmessage` sees text and
nothing but text. `[DONE]` is named too: `JSON.parse` would throw on it, while readers of lines find it all the same.
"""

import msgspec

from ..events import Content, Event
from ..frames import JSON, ControlFrame
from .base import Place


class _Text(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `onmessage` gets: the text under the name by which most clients look for it."""

    content: str
    seq: int
    run: str
    agent: str | None = None
    section: str | None = None
    part: int = 0


_encode = msgspec.json.Encoder().encode


def _named(name: str, data: bytes, place: Place) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}id: {place}\ndata: ".encode() + data + b"\n\n"


class _Sse:
    media_type = "text/event-stream"
    heartbeat = b": \n\n"

    def event(self, event: Event, place: Place) -> bytes:
        if isinstance(event, Content):
            text = _Text(event.data, event.seq, event.run, event.agent, event.section, event.part)
            return _named("", _encode(text), place)
        return _named(_tag(event), JSON.encode(event), place)

    def control(self, frame: ControlFrame, place: Place) -> bytes:
        # With an id too: a browser that is cut off behind `session` has no other, and would say its message again.
        return _named(_tag(frame), JSON.encode(frame), place)

    def end(self, place: Place) -> bytes:
        return _named("end", b"[DONE]", place)


def _tag(frame: Event | ControlFrame) -> str:
    tag = frame.__struct_config__.tag
    assert isinstance(tag, str)  # noqa: S101 - every frame has a tag
    return tag


SSE = _Sse()
