"""A run: one agent task, from its message to its receipt.

The one rule: whoever ends a run writes the ending first and cancels the task second. A task that is cancelled before
its first step never runs its own clean-up, and one that swallows the cancellation never finishes it, so neither is
asked to.

    QUEUED ──start──> RUNNING ──end──> ENDED ──task gone, or given up──> SETTLED
       └───────────────end (never started)──────────────────────────────────┘
"""

import asyncio
import enum
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from .errors import AgentWsError, Refused, RunError
from .events import Done, Ending, Error, Interrupted, Resolved, Settled, Start, Status, TaskFate, Usage, User
from .journal import note
from .log import Log
from .settings import Settings
from .tasks import Tasks
from .writer import Writer


class Phase(enum.Enum):
    """Where a run is. It only moves down this list."""

    QUEUED = 1
    RUNNING = 2
    ENDED = 3
    SETTLED = 4


class Part(Struct, frozen=True):
    """One section, or one of several agents."""

    stop: Callable[[], bool]
    """Cancels what makes it. False: nothing does."""
    redo: Callable[[], bool] | None = None
    """Has it made again, where that can be done."""


class Run:
    """One answer in the making. `changed` is called, inside the call that causes it, when the phase moves to ENDED or
    SETTLED.
    """

    def __init__(
        self,
        message: User,
        log: Log,
        settings: Settings,
        *,
        wall: Callable[[], float],
        tick: Callable[[], float],
        changed: Callable[["Run"], None],
    ) -> None:
        self.id = message.run
        self.message = message
        self.phase = Phase.QUEUED
        self.writer = Writer(log, self.id, limits=settings.limits, wall=wall, tick=tick)
        self.steering: list[User] = []
        """Messages for the running agent that it has not taken yet."""
        self.requests: dict[str, asyncio.Future[Any]] = {}
        self.parts: dict[tuple[str, str], Part] = {}
        """What can be stopped alone: ("section", id) or ("agent", name)."""
        self.tool_limits: dict[str, float] = {}
        self.upstreams = 0
        """Connections to a provider that are open."""
        self.upstream_used = False
        """Whether there ever was one."""
        self.tasks: Tasks
        """For what may outlive the run. From `start` on."""
        self.usage: Usage | None = None
        self.stop_reason = ""
        self.ending: Ending | None = None
        self._log = log
        self._times = settings.timeouts
        self.limits = settings.limits
        self._wall = wall
        self._tick = tick
        self._changed = changed
        self._task: asyncio.Task[None] | None = None
        self._cut = False
        """The task was cancelled from outside, so it did not come to its own end."""
        self._timer: asyncio.TimerHandle | None = None
        """The next look at it, until it is settled."""
        self._ended_at = 0.0
        self._started_at = 0.0

    def start(self, work: Callable[[], Awaitable[None]], tasks: Tasks) -> None:
        """Begin `work`, the agent, as a task that is looked after until the receipt is written."""
        self.phase = Phase.RUNNING
        self._started_at = self.writer.touched = self._tick()
        self._log.append(Start(run=self.id, at=self._wall()))
        self.tasks = tasks
        self._task = tasks.spawn(self._outcome(work), f"agent {self.id}")
        self._task.add_done_callback(self._gone)
        self._watch()

    def interrupt(self, reason: str, seen: int | None = None) -> bool:
        """End it as interrupted, at once. False: it has its ending already, and nothing happens."""
        if seen is not None:
            seen = min(seen, self.writer.chars)
        return self.end(Interrupted(reason=reason, seen=seen))

    def fail(self, error: AgentWsError) -> bool:
        """End it with an error. False: it has its ending already."""
        return self.end(Error(error.code, str(error)))

    def end(self, ending: Ending) -> bool:
        """Write the ending, fence the writer, then cancel the task. The first ending wins; a later one is ignored."""
        if not self.writer.end(ending):
            return False
        self.ending = ending
        never_started = self.phase is Phase.QUEUED
        self.phase = Phase.ENDED
        self._ended_at = self._tick()
        for future in self.requests.values():
            future.cancel()
        if self._task is not None and self._task is not asyncio.current_task() and self._task.cancel():
            self._cut = True
        if self._task is not None:
            self._look_in(min(self._times.grace, self._times.abandon), self._press)
        self._changed(self)
        if never_started:
            self._settle("never_started")
        return True

    async def wait_steering(self) -> None:
        """Return once there is steering to take. A cancellation point only where there is none yet."""
        while not self.steering:
            await self._log.wait(self._log.tail)

    def reply(self, request: str, data: Any) -> None:
        """Resolve an open request. Raises `Refused` where it is not open (any more)."""
        future = self.requests.get(request)
        if future is None or future.done() or request not in self.writer.brackets.requests:
            raise Refused("expected an open request, got an id that is not one", code="request_not_open")
        self.writer.put(Resolved(request, "replied", data))
        future.set_result(data)

    def stop_part(self, kind: str, name: str) -> bool:
        """Stop one section or one of several agents; the rest goes on. False: there is none such now."""
        part = self.parts.get((kind, name))
        skipped = kind == "section" and self.writer.skip(name)
        if part is None:
            return skipped
        if kind == "agent":
            self.writer.end_part(name, Status("stopped"))
        return part.stop() or skipped

    def redo_section(self, name: str) -> bool:
        """Have one section written again; the rest goes on. False: there is none such now, or it can't be."""
        part = self.parts.get(("section", name))
        return part is not None and part.redo is not None and not self.writer.fenced and part.redo()

    async def _outcome(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run the agent and turn how it ends into the run's ending."""
        try:
            await work()
        except asyncio.CancelledError:
            if self.writer.fenced:
                raise
            # Nobody cancelled the run: the agent let a cancellation of its own escape.
            note(logging.WARNING, "the agent cancelled itself", run=self.id)
            self.end(Error("agent_error", "The agent cancelled itself."))
        except RunError as error:
            self.end(Error(error.code, str(error)))
        except BaseException as error:  # noqa: BLE001 - user code: SystemExit too must not end the server
            if not self.writer.fenced:
                # The text of a foreign exception may hold a key or a message: its type and place are enough to find it.
                note(logging.ERROR, "the agent failed", error=error, run=self.id)
                self.end(Error("agent_error", f"The agent failed ({type(error).__name__})."))
            elif not isinstance(error, AgentWsError):
                note(logging.DEBUG, "an error while it was stopped", error=error, run=self.id)
        else:
            self.end(Done(stop_reason=self.stop_reason, usage=self.usage, streamed=self.writer.streamed))

    # Looked after by a timer and the task's own end

    def _look_in(self, seconds: float, look: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), look)

    def _watch(self) -> None:
        """Write the ending if a time limit has passed; else look again when one may have."""
        due, code, what, limit = self._next_limit()
        now = self._tick()
        if due <= now:
            self.fail(RunError(f"The agent was expected {what} within {limit:g} s and did not.", code=code))
            return
        # A limit can come nearer while we wait (a tool begins; a reply ends the user's time and begins the agent's), so
        # no nap is longer than the shortest of those.
        times = self._times
        self._look_in(min(due - now, times.silence, times.first_event, times.tool), self._watch)

    def _press(self) -> None:
        """The task is there yet after the ending: cancel it again, or give it up."""
        assert self._task is not None  # noqa: S101 - for the type checker: what has none is not looked after
        self._task.cancel()
        left = self._ended_at + self._times.abandon - self._tick()
        if left > 0:
            self._look_in(min(self._times.grace, left), self._press)
        else:
            note(logging.WARNING, "its task ignores cancellation and was given up", run=self.id)
            self._settle("abandoned")

    def _gone(self, _: asyncio.Task[None]) -> None:
        if self.phase is Phase.RUNNING:  # cancelled before its first step, and not by us
            self.end(Error("agent_error", "The agent was cancelled."))
        if self.phase is Phase.ENDED:
            self._settle("cancelled" if self._cut else "finished")

    def _next_limit(self) -> tuple[float, str, str, float]:
        """The time limit that passes first: when, by the loop's clock; its code; to do what; within how many s."""
        times, writer = self._times, self.writer
        limits = [(self._started_at + times.run, "run_timeout", "to finish", times.run)]
        if writer.tool_since:
            # A tool's own scope stops it at its limit; this is for tools that are only events, and for those that
            # won't stop.
            for tool, since in writer.tool_since.items():
                limit = self.tool_limits.get(tool, times.tool)
                limits.append((since + limit + times.grace, "tool_timeout", "to finish a tool call", limit))
        elif not self.requests:
            if writer.events:
                limits.append((writer.touched + times.silence, "silence_timeout", "to go on", times.silence))
            else:
                limits.append(
                    (self._started_at + times.first_event, "first_event_timeout", "to begin", times.first_event)
                )
        return min(limits)

    def _settle(self, task: TaskFate) -> None:
        self.phase = Phase.SETTLED
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gone = task != "abandoned"
        self._log.append(
            Settled(
                task,
                run=self.id,
                at=self._wall(),
                stop_ms=round((self._tick() - self._ended_at) * 1000),
                upstream_closed=(self.upstreams == 0) if self.upstream_used else None,
                tools=self.writer.fates(gone=gone),
                chunks=self.writer.chunks,
                chars=self.writer.chars,
                seen=self.ending.seen if isinstance(self.ending, Interrupted) else None,
                usage=self.usage,
            )
        )
        self._changed(self)
