"""The tokens of sessions that were left, so that `--session` can come back to them.

The one rule: the file is its owner's alone, and losing it loses nothing but the way back.
"""

import os
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

MOST = 100
"""Sessions that are remembered; the oldest is forgotten."""


class Kept(Struct, frozen=True, omit_defaults=True):
    """One session."""

    url: str
    session: str
    token: str | None = None


def place() -> Path:
    """Where it is: the XDG base directory for state."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "agent-ws" / "sessions.json"


def read() -> list[Kept]:
    """What is remembered, the newest last. A file that can't be read is one without sessions."""
    try:
        return msgspec.json.decode(place().read_bytes(), type=list[Kept])
    except (OSError, msgspec.MsgspecError, UnicodeError, RecursionError):
        return []


def find(url: str, session: str | None) -> Kept | None:
    """The session of this name at this server; None: the newest there."""
    return next((kept for kept in reversed(read()) if kept.url == url and session in {None, kept.session}), None)


def keep(url: str, session: str, token: str | None) -> None:
    """Remember a session. Where that can't be done, it isn't."""
    others = [kept for kept in read() if (kept.url, kept.session) != (url, session)]
    data = msgspec.json.format(msgspec.json.encode([*others, Kept(url, session, token)][-MOST:]))
    path = place()
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        new.replace(path)
