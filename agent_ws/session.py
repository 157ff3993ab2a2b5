"""A session: one conversation, its log, its runs, and the rules for what a message does while a run is going.

The one rule: at most one run is going; the next begins when the one before has its receipt, or `handover` seconds
after its ending where its task is slow to go. Everything that decides is synchronous, so two clients at once can't
both win.
"""

import asyncio
import hmac
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import Any, Literal

from msgspec import Struct

from .errors import FrameError, Refused, StoreError
from .events import Done, Error, Event, Interrupted, Seen, User
from .fold import runs
from .history import History, Message
from .log import Log
from .run import Phase, Run
from .settings import Settings, WhenBusy
from .stores import Feed, Record, deleted
from .tasks import Tasks
from .turn import Agent, Turn, drive

SayOutcome = Literal["started", "queued", "steered"]


class Accepted(Struct, frozen=True):
    """A message that the store has."""

    id: str
    run: str
    outcome: SayOutcome
    first: int
    """Its first event: with it the store has the message."""
    seq: int
    """The event that put it into `run`: a later one, where it has moved."""


class Services(Struct):
    """What a session needs from the process. One instance, made by `Sessions`."""

    agent: Agent
    settings: Settings
    feed: Feed
    tasks: Tasks
    wall: Callable[[], float]
    """Seconds since 1970."""
    new_id: Callable[[], str]
    """Ids that can't be guessed."""
    draining: bool = False
    overloaded: bool = False
    """The event loop is late: what is going gets better only if nothing more begins."""


class Session:
    """One conversation. Made by `Sessions` only."""

    def __init__(self, record: Record, log: Log, services: Services) -> None:
        self.id = record.session
        self.owner = record.owner
        self.log = log
        self.active: Run | None = None
        """The run that is going, or the last one, until the next begins."""
        self.queue: list[Run] = []
        self.record = record
        self.leaving = False
        """It is just being deleted, or is: nothing more is taken."""
        self._services = services
        self._messages: dict[str, Accepted] = {}
        self._known_runs: set[str] = set()
        self._unsettled: list[Run] = []
        """Runs that began and have no receipt: more than one where a task was slow to go."""
        self._ended: dict[str, int] = {}
        """Runs with an ending, and how many characters of each count as seen."""
        self._history = History()
        self._cut: str | None = None
        """The last run that began, where it was interrupted: it can be continued."""
        self._told = 0
        """The last event that the history has taken."""
        self._inside: dict[int, Callable[[FrameError], None]] = {}
        """How each client inside is shown out."""
        self._entered = 0
        self._orphan: asyncio.TimerHandle | None = None
        self._handover: asyncio.TimerHandle | None = None
        events = log.read(0)
        for event in events:
            self._remember(event)
        for view in runs(events):
            if view.ending is not None:
                self._ended[view.run] = len(view.text()) if view.seen is None else view.seen
            if view.started:
                self._cut = view.run if isinstance(view.ending, Interrupted) else None

    # Who may use it, and who does

    def enter(self, show_out: Callable[[FrameError], None] = lambda _: None) -> Callable[[], None]:
        """Count a client as inside, until what is returned is called. A run that nobody views is interrupted after
        `timeouts.orphan`.

        `show_out` is called where the session ends before, with what to tell. It must be quick and must not raise.
        """
        self._entered += 1
        key = self._entered
        self._inside[key] = show_out
        self._disarm()

        def leave() -> None:
            self._inside.pop(key, None)
            self._arm()

        return leave

    @contextmanager
    def view(self) -> Generator[None]:
        """Count as a client inside the block."""
        leave = self.enter()
        try:
            yield
        finally:
            leave()

    @property
    def busy(self) -> bool:
        """Whether a run is going or waits, or its receipt is not written."""
        return bool(self.queue) or self.working

    @property
    def working(self) -> bool:
        """Whether a run is going, or the task of one: what waits is not counted."""
        return bool(self._unsettled)

    @property
    def going(self) -> Run | None:
        """The run that has no ending yet."""
        return self.active if self.active is not None and self.active.phase is Phase.RUNNING else None

    def is_open(self, run: str = "") -> bool:
        """Whether `run`, or without it any run, has no ending yet."""
        return any(
            r is not None and r.phase.value < Phase.ENDED.value and run in ("", r.id)
            for r in (self.active, *self.queue)
        )

    @property
    def idle(self) -> bool:
        """Whether it may be let go from memory."""
        return not self.busy and not self._inside and not self.leaving

    # What clients do

    async def say(
        self,
        data: str,
        message_id: str | None = None,
        when_busy: WhenBusy | None = None,
        continues: str | None = None,
    ) -> Accepted:
        """`take` a message and wait until it is `kept`."""
        accepted = self.take(data, message_id, when_busy, continues)
        await self.kept(accepted)
        return accepted

    def take(
        self,
        data: str,
        message_id: str | None = None,
        when_busy: WhenBusy | None = None,
        continues: str | None = None,
    ) -> Accepted:
        """Take a message and begin what it begins. Not to be acknowledged before `kept` returns. `continues`: a run
        whose answer is to go on; `data` is empty then.

        Raises `Refused` where nothing happened. The same `message_id` again changes nothing and returns the same
        answer.
        """
        if self.leaving:
            raise deleted()
        if message_id is not None and (known := self._messages.get(message_id)) is not None:
            return known
        return self._take(data, message_id or self._services.new_id(), when_busy, continues)

    async def kept(self, accepted: Accepted) -> None:
        """Return when the store has the message; its run doesn't wait for that.

        Raises `Refused` where the session is deleted before, and `StoreError` where the store can't take it: the run
        that it began is ended, and it may be sent again. Of a message that the store has, and that has moved since,
        nothing is undone.
        """
        feed = self._services.feed
        try:
            await feed.durable(self.id, accepted.seq)
        except StoreError as error:
            if feed.has(self.id, accepted.first):
                raise
            accepted = self._messages.pop(accepted.id, accepted)  # it may have moved
            for run in (self.active, *self.queue):
                if run is not None and run.id == accepted.run:
                    # Steering that was refused must not move to a run of its own.
                    run.steering = [message for message in run.steering if message.id != accepted.id]
                    if accepted.outcome != "steered":
                        run.fail(error)
            raise

    def interrupt(self, run: str | None = None, *, reason: str = "user", seen: int | None = None) -> list[str]:
        """Stop `run`, or without it the one that is going and every queued one. Returns the runs that got their
        ending by it.

        Raises `FrameError` for a run that this session never had.
        """
        self._check_run(run)
        stopped: list[str] = []
        if run is None:
            # The queue first: else the ending of the active run would begin the next one.
            waiting, self.queue = self.queue, []
            stopped += [queued.id for queued in waiting if queued.interrupt(reason)]
        for candidate in (self.active, *self.queue):
            if candidate is not None and run in (None, candidate.id) and candidate.phase.value < Phase.ENDED.value:
                candidate.interrupt(reason, seen)
                stopped.append(candidate.id)
                return stopped
        named = run or (self.active.id if self.active is not None else self._last_shown())
        if seen is not None and named is not None and seen < self._ended.get(named, 0):
            self._ended[named] = seen
            self.log.append(Seen(seen, run=named))
        return stopped

    def _check_run(self, run: str | None) -> None:
        if run is not None and run not in self._known_runs:
            raise FrameError("expected a run of this session, got an id that is not one", code="run_not_found")

    def _last_shown(self) -> str | None:
        """The last run that showed any text: what a client means that names none, after a session was loaded anew."""
        return next((run for run, chars in reversed(self._ended.items()) if chars), None)

    def stop_part(
        self, kind: Literal["section", "agent"], name: str, run: str | None = None, *, redo: bool = False
    ) -> bool:
        """Stop one section, or one of several agents, of the run that is going; with `redo` have a section written
        again. False: it has none such now.

        Raises `FrameError` for a run that this session never had.
        """
        self._check_run(run)
        going = self.going
        if going is None or run not in (None, going.id):
            return False
        return going.redo_section(name) if redo and kind == "section" else going.stop_part(kind, name)

    def reply(self, request: str, data: Any) -> None:
        """Answer a request. Raises `Refused` where it is not open."""
        if self.going is None:
            raise Refused("expected an open request, got an id that is not one", code="request_not_open")
        self.going.reply(request, data)

    # What the process does

    def shut_down(self) -> None:
        """End all runs with reason `shutdown`."""
        self.interrupt(reason="shutdown")

    def shut_out(self) -> None:
        """It is gone: show everybody out."""
        for show_out in tuple(self._inside.values()):
            show_out(deleted())

    # Inside

    def _take(self, data: str, message_id: str, when_busy: WhenBusy | None, continues: str | None) -> Accepted:
        """Decide what a message does, and do it. Nothing can run in between."""
        services = self._services
        # What waits for nothing but the task before it to be gone is going, for whoever says more: else the order of
        # the answers would hang on how fast that task is.
        going = self.going or (self.queue[0] if self.queue else None)
        if services.draining:
            raise Refused("The server is shutting down: come back and send it again.", code="shutting_down")
        if (failed := services.feed.broken(self.id) or services.feed.failed) is not None:
            raise StoreError(str(failed))
        if continues is not None:
            self._check_continues(continues, data, busy=going is not None)
        elif not data.strip():
            raise Refused("expected a message with text, got an empty one", code="empty_message")
        policy = when_busy or services.settings.when_busy
        waiting = len(self.queue) + (len(going.steering) if going is not None else 0)
        if going is not None and policy in ("queue", "steer") and waiting >= services.settings.limits.queued:
            raise Refused(
                f"expected at most {services.settings.limits.queued} waiting messages, got one more", code="queue_full"
            )
        if services.overloaded and (going is None or policy != "steer"):
            raise Refused("The server is too busy to begin anything new: send it again later.", code="overloaded")
        if going is not None and policy == "steer":
            message = User(message_id, data, at=services.wall(), steer=True, run=going.id)
            self._write(message)
            going.steering.append(message)
            return self._accept(message_id, going.id, "steered")
        if going is not None and policy == "reject":
            raise Refused("The agent is still answering.", code="busy")
        if going is not None and policy == "interrupt":
            going.interrupt("superseded")
        message = User(message_id, data, at=services.wall(), run=services.new_id(), continues=continues)
        run = self._enqueue(message, first=policy != "queue")
        self._advance()
        return self._accept(message_id, run.id, "queued" if going is not None and policy == "queue" else "started")

    def _check_continues(self, run: str, data: str, *, busy: bool) -> None:
        if run not in self._known_runs:
            raise Refused("expected a run of this session, got an id that is not one", code="run_not_found")
        if data.strip():
            raise Refused(
                "expected no text beside `continues`, got some: say it in a message of its own", code="cannot_continue"
            )
        if busy or run != self._cut:
            raise Refused(
                "expected the last run that began, interrupted, with nothing going or waiting behind it, got another",
                code="cannot_continue",
            )

    def _enqueue(self, message: User, *, first: bool) -> Run:
        self._write(message)
        run = Run(
            message,
            self.log,
            self._services.settings,
            wall=self._services.wall,
            tick=asyncio.get_running_loop().time,
            changed=self._changed,
        )
        if first:
            self.queue.insert(0, run)
        else:
            self.queue.append(run)
        return run

    def _advance(self) -> None:
        """Begin the next run, if it is time."""
        if not self.queue or self.going is not None or self._services.draining:
            return
        leaving = self.active
        if leaving is not None and leaving.phase is Phase.ENDED and self._handover is None:
            self._handover = asyncio.get_running_loop().call_later(
                self._services.settings.timeouts.handover, self._hand_over
            )
        if self._handover is None:
            self._begin(self.queue.pop(0))

    def _hand_over(self) -> None:
        self._handover = None
        if self.queue and self.going is None and not self._services.draining:
            self._begin(self.queue.pop(0))

    def _begin(self, run: Run) -> None:
        self.active = run
        self._cut = None
        self._unsettled.append(run)
        services = self._services
        history = self._recall()
        before = run.message.continues
        turn = Turn(
            run,
            session=self.id,
            history=history,
            continues=None if before is None else self._history.kept(before),
            timeouts=services.settings.timeouts,
            new_id=services.new_id,
            wall=services.wall,
        )
        run.start(lambda: drive(services.agent, turn), services.tasks)
        self._arm()

    def _recall(self) -> tuple[Message, ...]:
        """What a model is told of all that is in the log."""
        self._history.take(self.log.read(self._told))
        self._told = self.log.tail
        return self._history.messages()

    def _changed(self, run: Run) -> None:
        """A run got its ending, or its receipt."""
        if run.phase is Phase.SETTLED and run in self._unsettled:  # one that was queued never began
            self._unsettled.remove(run)
            if not self._unsettled and not self.queue:
                self._recall()  # now, and not while somebody waits for the next answer
        if run.phase is Phase.ENDED:
            seen = run.ending.seen if isinstance(run.ending, Interrupted) else None
            self._ended[run.id] = run.writer.chars if seen is None else seen
            if run is self.active and isinstance(run.ending, Interrupted):
                self._cut = run.id
            with suppress(ValueError):
                self.queue.remove(run)
            if isinstance(run.ending, Done | Error):
                # The agent didn't take it: it was said all the same, so it gets a run of its own.
                for message in reversed(run.steering):
                    moved = self._enqueue(
                        User(message.id, message.data, at=message.at, run=self._services.new_id()), first=True
                    )
                    self._accept(message.id, moved.id, "queued")
                run.steering.clear()
        elif run is self.active and self._handover is not None:
            self._handover.cancel()
            self._handover = None
        if run.phase is Phase.ENDED and run is self.active:
            self._disarm()
        self._advance()

    def _write(self, message: User) -> None:
        self._remember(self.log.append(message))

    def _accept(self, message_id: str, run: str, outcome: SayOutcome) -> Accepted:
        known = self._messages[message_id]
        accepted = self._messages[message_id] = Accepted(message_id, run, outcome, known.first, known.seq)
        return accepted

    def _remember(self, event: Event) -> None:
        """Learn from an event what a later message could ask for: its id, its run."""
        self._known_runs.add(event.run)
        if isinstance(event, User):  # the same id again: the message moved to this run
            known = self._messages.get(event.id)
            first = event.seq if known is None else known.first
            outcome = "steered" if event.steer else "started"
            self._messages[event.id] = Accepted(event.id, event.run, outcome, first, event.seq)

    def _arm(self) -> None:
        if not self._inside and self.going is not None and self._orphan is None:
            self._orphan = asyncio.get_running_loop().call_later(
                self._services.settings.timeouts.orphan, self._orphaned
            )

    def _disarm(self) -> None:
        if self._orphan is not None:
            self._orphan.cancel()
            self._orphan = None

    def _orphaned(self) -> None:
        self._orphan = None
        self.interrupt(reason="orphaned")


def admits(record: Record, owner: str | None, token: str | None) -> bool:
    """Whether a client may use a session: it is the owner's, or the client has its token."""
    if owner is not None and hmac.compare_digest(owner.encode(), record.owner.encode()):
        return True
    return token is not None and hmac.compare_digest(hash_token(token), record.token_hash)


def hash_token(token: str) -> str:
    """How a token is stored."""
    return sha256(token.encode()).hexdigest()
