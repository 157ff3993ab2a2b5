"""Newline-delimited JSON: each line is a frame as the WebSocket has it, the last is `{"type": "end"}`."""

from ..events import Event
from ..frames import JSON, ControlFrame
from .base import Place


class _Ndjson:
    media_type = "application/x-ndjson"
    heartbeat = b'{"type":"pong"}\n'

    def event(self, event: Event, place: Place) -> bytes:  # noqa: ARG002 - `seq` and `run` are in the frame itself
        return JSON.encode(event) + b"\n"

    def control(self, frame: ControlFrame, place: Place) -> bytes:  # noqa: ARG002 - `session` has it
        return JSON.encode(frame) + b"\n"

    def end(self, place: Place) -> bytes:  # noqa: ARG002 - the frame before has it
        return b'{"type":"end"}\n'


NDJSON = _Ndjson()
