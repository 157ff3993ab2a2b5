"""Bearer tokens of a file that can change while the server runs: a line each, with a hash and never the token.

    # owner  hash of the token                       expires (optional, UTC where it names no zone)
    alice    sha256:9f86d081884c7d659a2feaa0c55ad0…  2027-01-31T12:00:00Z

The one rule: a file that can't be understood as a whole changes nothing. It is read again only once it has rested for
one look, so that one which is just being written is not taken for one that lost its lines.
"""

import logging
import os
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from starlette.requests import HTTPConnection

from ..errors import AgentWsError
from ..journal import note
from .login import Identity

HASH = re.compile(r"sha256:[0-9a-f]{64}")
FORM = "expected `NAME sha256:HASH` and perhaps a time (2027-01-31T12:00:00Z), as `agent-ws token NAME` prints it"
PREFIX = "agent-ws-"
"""So that a token which got into a repository can be found there."""


def fresh(owner: str, expires: datetime | None = None) -> tuple[str, str]:
    """A new token, and the line that lets its bearer in as `owner`. Raises `ValueError`."""
    if Identity(owner).owner.split() != [owner] or owner.startswith("#"):
        raise ValueError(f"expected a name without spaces that doesn't begin with #, got {owner!r}")
    token = PREFIX + secrets.token_urlsafe(32)
    until = "" if expires is None else f" {expires.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return token, f"{owner} {_hash(token)}{until}"


def parse(text: str) -> dict[str, Identity]:
    """Hash to identity. Raises `ValueError` that names the line and quotes nothing of it: it may be a token."""
    known: dict[str, Identity] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        try:
            owner, token, *times = fields
            if not HASH.fullmatch(token) or len(times) > 1:
                raise ValueError  # noqa: TRY301 - said once, below
            identity = Identity(owner, moment(times[0]).timestamp() if times else None, token)
        except ValueError:
            raise ValueError(f"line {number}: {FORM}") from None
        if token in known:
            raise ValueError(f"line {number}: expected each token once, got one that an earlier line has")
        known[token] = identity
    return known


def moment(text: str) -> datetime:
    """A point in time, written after ISO 8601; a date is its first moment, UTC is meant where no zone is named. Raises
    `ValueError`.
    """
    when = datetime.fromisoformat(text)
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


def bearer(fields: list[str]) -> str | None:
    """The token of a request's `Authorization` headers, where they are one of that form."""
    scheme, _, token = fields[0].partition(" ") if len(fields) == 1 else ("", "", "")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _hash(token: str) -> str:
    return f"sha256:{sha256(token.encode()).hexdigest()}"


class Tokens:
    """The tokens of a file, as a `Login`. Raises `ValueError` where the file can't be read at the start.

    A token is found by its hash: how long that takes tells nothing about any token.
    """

    def __init__(self, path: str, max_bytes: int) -> None:
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._read: object = None
        """What the file looked like when it was read; not the first time, or what was written just then is missed."""
        self._seen: object = None
        """What it looked like last."""
        self.known: Mapping[str, Identity] = {}
        """By `Identity.id`."""
        if (fault := self._load()) is not None:
            raise ValueError(fault)

    async def __call__(self, connection: HTTPConnection) -> Identity | None:
        """Who has the token that the connection brought."""
        token = bearer(connection.headers.getlist("authorization"))
        return None if token is None else self.known.get(_hash(token))

    def current(self, identity: Identity) -> Identity | None:
        """The same login as the file has it now; None: it has it no more."""
        now = self.known.get(identity.id or "")
        return now if now is not None and now.owner == identity.owner else None

    def look(self) -> bool:
        """Read the file again if it has changed and rested since. True: what is known may be other than before."""
        try:
            status = os.stat(self._path)  # noqa: PTH116 - the same, and its name says that nothing is read
            looks = (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError:
            looks = None
        rested, self._seen = looks == self._seen, looks
        if not rested or looks == self._read:
            return False
        self._read = looks
        if (fault := self._load()) is not None:
            note(logging.ERROR, "the tokens from before go on", error=AgentWsError(fault))
            return False
        return True

    def _load(self) -> str | None:
        """Read the file. Returns what is wrong with it, in which case nothing has changed."""
        try:
            with self._path.open("rb") as file:
                data = file.read(self._max_bytes + 1)
        except OSError as error:
            return f"the tokens file {self._path} can't be read: {error.strerror}"
        if len(data) > self._max_bytes:
            return f"the tokens file {self._path}: expected at most {self._max_bytes} bytes, got more"
        try:
            self.known = parse(data.decode("utf-8-sig"))
        except UnicodeDecodeError:
            return f"the tokens file {self._path}: expected UTF-8, got other bytes"
        except ValueError as error:
            return f"the tokens file {self._path}, {error}"
        return None
