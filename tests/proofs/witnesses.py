"""Who looks on while runs are stopped: a tab that keeps a copy, and a watch on the log that notes when an event came.

The one rule: looking changes nothing. What the log has shown is frozen, so the watch reads it behind its back.
"""

import asyncio
from copy import deepcopy
from typing import Any

from agent_ws.events import Event, Settled
from agent_ws.session import Session
from agent_ws.testing.client import Client, Closed
from agent_ws.testing.invariants import Copy

from .ledger import Ledger, Life
from .proof import Course, Disproved


class Tab:
    """A WebSocket client that keeps a copy of the session."""

    def __init__(self, client: Client, course: Course) -> None:
        self.client = client
        self.copy = Copy()
        self.said: set[str] = set()
        """Messages that it sent."""
        self.ended: set[str] = set()
        """Runs of whose ending it was told."""
        self.answers: dict[str, dict[str, Any]] = {}
        """To each message."""
        self.opened: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        """The `session` frame."""
        self.unknown = 0
        """Answers that a run never was."""
        self._facts = course.facts

    async def read(self) -> None:
        """Take what comes, until it is cancelled. Raises `Disproved` where the server closes."""
        try:
            while True:
                self._take(await self.client.receive())
        except Closed as closed:
            raise Disproved(f"expected an open connection, got {closed}") from closed

    def _take(self, frame: dict[str, Any]) -> None:
        self._facts["frames"] += 1
        self.copy.take(frame)
        match frame["type"]:
            case "session":
                self.opened.set_result(frame)
            case "accepted" | "rejected":
                if frame["id"] in self.answers:
                    raise Disproved(f"expected one answer to a message, got {frame} after {self.answers[frame['id']]}")
                self.answers[frame["id"]] = frame
            case "error" if "seq" not in frame:
                if frame["code"] != "run_not_found":
                    raise Disproved(f"expected no error, got {frame}")
                self.unknown += 1
            case _ if "seq" in frame:
                check_order(self.ended, frame)
            case _:
                pass


def check_order(ended: set[str], frame: dict[str, Any]) -> None:
    """Nothing of a run behind its ending but its receipt and what was seen of it. `ended` learns of endings."""
    if frame["run"] in ended and frame["type"] not in ("settled", "seen"):
        raise Disproved(f"expected nothing of the run after its ending, got {frame}")
    if frame["type"] in ("done", "interrupted", "error"):
        ended.add(frame["run"])


class Watch:
    """Sees each event as it is written."""

    def __init__(self, session: Session, ledger: Ledger) -> None:
        self.when: list[float] = []
        """Of each event the moment when it was written, on the loop's clock."""
        self.lives: dict[str, Life] = {}
        """Of each run, what its agent had done when the receipt was written."""
        self._log = session.log
        self._ledger = ledger
        self._changed = asyncio.Event()
        session.log.watch(self._note)

    def events(self) -> list[Event]:
        """The log, as it is now."""
        return list(vars(self._log)["_events"])

    async def until(self, kind: str, seconds: float) -> None:
        """Return once there is an event of this type, at the latest after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while not any(event.__struct_config__.tag == kind for event in self.events()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass

    def _note(self) -> None:
        now = asyncio.get_running_loop().time()
        for event in vars(self._log)["_events"][len(self.when) :]:
            self.when.append(now)
            if isinstance(event, Settled) and event.run in self._ledger.lives:
                self.lives[event.run] = deepcopy(self._ledger.lives[event.run])
        self._changed.set()
