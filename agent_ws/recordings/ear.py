"""One direction of a WebSocket, overheard.

The one rule: it only listens. What it can't read goes on all the same, and is told once.
"""

from websockets.exceptions import WebSocketException
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side

MESSAGE_BYTES = 64 * 2**20
"""Of a message that is listened to: beyond that the rest of its connection is not recorded."""


class Deaf(Exception):
    """What comes is no WebSocket that could be read. `str` says why."""


class Ear:
    """`masked`: it listens to a client."""

    def __init__(self, *, masked: bool) -> None:
        # websockets' own parser, which takes it for its own connection; what it would answer is thrown away.
        self._protocol = Protocol(Side.SERVER if masked else Side.CLIENT, max_size=MESSAGE_BYTES)
        self._parts: list[bytes] = []
        self._text = False

    def hear(self, data: bytes) -> list[str | bytes | Close]:
        """The messages that end in `data`, in order, and the close. Raises `Deaf`."""
        self._protocol.receive_data(data)
        self._protocol.data_to_send()
        heard: list[str | bytes | Close] = []
        for frame in self._protocol.events_received():
            assert isinstance(frame, Frame)  # noqa: S101 - there was no handshake
            match frame.opcode:
                case Opcode.PING | Opcode.PONG:
                    pass
                case Opcode.CLOSE:
                    heard.append(Close.parse(frame.data))
                case _:
                    heard += self._message(frame)
        if (error := self._protocol.parser_exc) is not None and not isinstance(error, EOFError):
            raise Deaf(str(error) if isinstance(error, WebSocketException) else type(error).__name__)
        return heard

    def _message(self, frame: Frame) -> list[str | bytes]:
        if frame.opcode is not Opcode.CONT:
            self._text = frame.opcode is Opcode.TEXT
            self._parts.clear()
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return []
        data = b"".join(self._parts)
        return [data.decode(errors="replace") if self._text else data]
