"""Tickets: what a page shows at the handshake in place of its login, which it could only write into the address.

The one rule: a ticket opens one connection, soon, from the page that asked for it; whoever shows it, it is used then.
"""

from collections.abc import Callable
from hashlib import sha256

from msgspec import Struct

from .login import Identity


class _Ticket(Struct, frozen=True):
    identity: Identity
    origin: str | None
    until: float


class Tickets:
    """The tickets that wait. `lifetime` is in seconds of `clock`; beyond `each` of one owner, or `total`, the oldest
    goes.
    """

    def __init__(
        self, lifetime: float, *, each: int, total: int, clock: Callable[[], float], new_id: Callable[[], str]
    ) -> None:
        self._lifetime = lifetime
        self._each = each
        self._total = total
        self._clock = clock
        self._new_id = new_id
        self._waiting: dict[bytes, _Ticket] = {}
        """By the ticket's hash, so that the time of a look tells nothing about any; the oldest first."""
        self._owned: dict[str, dict[bytes, None]] = {}
        """The same by owner."""

    def __len__(self) -> int:
        return len(self._waiting)

    def issue(self, identity: Identity, origin: str | None) -> str:
        """A ticket for `identity`, for connections from `origin` only."""
        self._sweep()
        ticket = self._new_id()
        key = _key(ticket)
        self._waiting[key] = _Ticket(identity, origin, self._clock() + self._lifetime)
        owned = self._owned.setdefault(identity.owner, {})
        owned[key] = None
        if len(owned) > self._each:
            self._take(next(iter(owned)))
        if len(self._waiting) > self._total:
            self._take(next(iter(self._waiting)))
        return ticket

    def redeem(self, ticket: str, origin: str | None) -> Identity | None:
        """Use a ticket up. None: it is not one, or not for a connection from `origin`."""
        self._sweep()
        found = self._take(_key(ticket))
        return found.identity if found is not None and found.origin == origin else None

    def drop(self, ended: Callable[[Identity], bool]) -> None:
        """Forget the tickets of logins that have ended."""
        for key, ticket in tuple(self._waiting.items()):
            if ended(ticket.identity):
                self._take(key)

    def _sweep(self) -> None:
        now = self._clock()
        while self._waiting and (oldest := next(iter(self._waiting.items())))[1].until <= now:
            self._take(oldest[0])

    def _take(self, key: bytes) -> _Ticket | None:
        ticket = self._waiting.pop(key, None)
        if ticket is not None:
            owned = self._owned[ticket.identity.owner]
            del owned[key]
            if not owned:
                del self._owned[ticket.identity.owner]
        return ticket


def _key(ticket: str) -> bytes:
    return sha256(ticket.encode()).digest()
