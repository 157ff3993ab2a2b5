"""One answer out of everything that happens: for who wants no session and no states of a connection.

The one rule: it ends with the run's ending, or raises.
"""

from collections.abc import AsyncGenerator

from .. import events, frames
from . import actions as do
from .codes import CLOSED, Closed
from .incoming import Unknown


class Unanswered(Exception):
    """The message was not taken. code: the wire's, or `withdrawn`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


async def answer(notices: AsyncGenerator[do.Notice], message: str) -> AsyncGenerator[events.Event | do.Reset]:
    """The events of the run that `message` belongs to; where it moves, of the new one. See `Client.answer`."""
    run: str | None = None
    async for notice in notices:
        match notice:
            case do.Outcome(outcome=frames.Accepted(id=said, run=of)) if said == message:
                run = of
            case do.Outcome(outcome=frames.Rejected(id=said, code=code, message=why)) if said == message:
                raise Unanswered(code, why)
            case do.Outcome(outcome=do.Withdrawn(id=said)) if said == message:
                raise Unanswered("withdrawn", "the message was taken back")
            case do.Reset():
                yield notice
            case do.Event(event=event) if not isinstance(event, Unknown):
                if isinstance(event, events.User) and event.id == message:
                    run = event.run
                if event.run == run:
                    yield event
                    if isinstance(event, events.ENDINGS):
                        return
            case _:
                pass
    raise Closed(CLOSED, "closed before the answer's end")
