"""What was said and is not known to have been heard.

The one rule: a frame stays until the server has shown that it was heard, and goes out once on each connection until
then. Each is idempotent, so saying it twice does no harm; a section to be written again is not, and is said once.
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from ..frames import Interrupt, Ping, Rejected, Reply, Say

Key: TypeAlias = tuple[Literal["message", "interrupt", "reply"], str | Interrupt | None]


class Kept:
    """One frame."""

    __slots__ = ("frame", "mark", "sent")

    def __init__(self, frame: Say | Interrupt | Reply) -> None:
        self.frame = frame
        self.mark = 0
        """The ping behind it, whose answer shows that an interrupt was heard. 0: not sent on this connection."""
        self.sent = False
        """It has been sent on some connection."""


class Outbox:
    """The frames, in the order in which they were said."""

    def __init__(self) -> None:
        self._kept: dict[Key, Kept] = {}
        self._marks = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, key: Key, frame: Say | Interrupt | Reply) -> Kept:
        """Say this. What had the same key is replaced: the newest is the last."""
        self._kept.pop(key, None)
        kept = self._kept[key] = Kept(frame)
        return kept

    def find(self, key: Key) -> Kept | None:
        """What is kept under this key."""
        return self._kept.get(key)

    def forget(self, key: Key) -> bool:
        """It was heard, or is wanted no more. False: it wasn't there."""
        return self._kept.pop(key, None) is not None

    def messages(self) -> list[Say]:
        """Those without an outcome."""
        return [kept.frame for kept in self._kept.values() if isinstance(kept.frame, Say)]

    def renew(self) -> None:
        """There is a new connection, on which nothing was said yet."""
        for kept in self._kept.values():
            kept.mark = 0

    def flush(self, message_bytes: int | None) -> Iterator[Say | Interrupt | Reply | Ping | Rejected]:
        """What has not been sent on this connection, to be sent now. `Rejected` is no frame to send: that message is
        too big, and stays until it is forgotten.
        """
        marked = False
        for key, kept in list(self._kept.items()):
            frame = kept.frame
            if kept.mark > 0:
                continue
            if isinstance(frame, Say) and message_bytes is not None and len(msgspec.json.encode(frame)) > message_bytes:
                words = f"expected a message of at most {message_bytes} bytes, got a longer one"
                yield Rejected("message_too_big", words, frame.id)
                continue
            if isinstance(frame, Interrupt) and frame.redo and kept.sent:
                del self._kept[key]  # heard twice, it would be written a third time
                continue
            yield frame
            self.cover(kept)
            marked = marked or isinstance(frame, Interrupt)
        if marked:
            yield self.mark()

    def cover(self, kept: Kept) -> None:
        """It was sent on this connection: the next mark is behind it."""
        kept.mark = self._marks + 1
        kept.sent = True

    def mark(self) -> Ping:
        """The ping whose answer shows that all interrupts before it were heard."""
        self._marks += 1
        return Ping(str(self._marks))

    def heard(self, mark: int) -> None:
        """Frames are served in their order, so whatever was said before this mark has been heard."""
        for key, kept in list(self._kept.items()):
            if isinstance(kept.frame, Interrupt) and 0 < kept.mark <= mark:
                del self._kept[key]
