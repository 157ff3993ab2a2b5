"""What must not be in a recording: tokens and tickets, wherever they come up.

The one rule: a secret that was seen once is never written. Each gets a name, `secret-1`, the same wherever it comes up,
so that a recording still says who came back with what.
"""

import re
from typing import Any

import msgspec

from ..recording import MSGPACK, check_frame, form

FIELDS = ("token", "ticket")
"""Fields of a frame, and parameters of an address, that hold one."""
LONG = 16
"""Characters from which a secret is looked for in all text: a short one is a word that may stand there by chance."""
MALFORMED = re.compile(r'("(?:token|ticket)"\s*:\s*")((?:[^"\\]|\\.)*)')
"""A field in what is no JSON."""
QUERY = re.compile(r"((?:^|[?&])(?:token|ticket)=)([^&#]*)")
TICKET = "agent-ws.ticket."


class Secrets:
    """Those of one recording."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def name(self, secret: str) -> str:
        """What stands for `secret`, which is known from now on."""
        return self._names.setdefault(secret, f"secret-{len(self._names) + 1}")

    def learn(self, name: str, value: str) -> None:
        """Know what a field of a handshake holds."""
        match name.lower():
            case "authorization":
                self.name(value.partition(" ")[2].strip() or value)
            case "cookie" | "set-cookie":
                for cookie in (value if name.lower() == "cookie" else value.partition(";")[0]).split(";"):
                    self.name(cookie.partition("=")[2].strip())
            case "sec-websocket-protocol":
                for offered in value.split(","):
                    if offered.strip().startswith(TICKET):
                        self.name(offered.strip().removeprefix(TICKET))
            case _:
                pass

    def path(self, path: str) -> str:
        """An address without them."""
        return self._text(QUERY.sub(lambda found: found[1] + self.name(found[2]), path))

    def form(self, message: str | bytes, subprotocol: str) -> dict[str, Any]:
        """`recording.form` of a message without them. Where there was none it is byte by byte what came."""
        binary = subprotocol == MSGPACK
        made = form(message, binary=binary)
        if "frame" in made:
            hidden = self._frame(bytes(made["frame"]).decode())
            return made if hidden is None else form(hidden, binary=False)
        if "text" in made:
            text = MALFORMED.sub(lambda found: found[1] + self.name(found[2]), made["text"])
            return form(self._text(text), binary=False)
        assert isinstance(message, bytes)  # noqa: S101 - it had no other form
        for secret in self._long:
            # Of the same length: what this is, nobody knows.
            message = message.replace(secret.encode(), b"*" * len(secret.encode()))
        return form(message, binary=binary)

    @property
    def _long(self) -> list[str]:
        return [secret for secret in self._names if len(secret) >= LONG]

    def _text(self, text: str) -> str:
        for secret in self._long:
            text = text.replace(secret, self._names[secret])
        return text

    def _frame(self, text: str) -> str | None:
        """A JSON object without them; None where it has none."""
        value = check_frame(text.encode())
        fields = {key: held for key in FIELDS if isinstance(held := value.get(key), str) and held}
        hidden = {key: self.name(held) for key, held in fields.items()}
        replaced = self._text(text)
        if fields and any(check_frame(replaced.encode())[key] != name for key, name in hidden.items()):
            # A short one, or written with escapes: the frame is made anew.
            replaced = self._text(msgspec.json.encode(value | hidden).decode())
        return None if replaced == text else replaced
